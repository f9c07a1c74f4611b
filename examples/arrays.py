"""Arrays in, model out: train, encode, sample, evaluate."""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tightbound as tb

x = load_digits().images  # (1797, 8, 8), whole numbers from 0 to 16
x_train, x_test = train_test_split(x, test_size=300, random_state=0)
x_train, x_val = train_test_split(x_train, test_size=150, random_state=0)

model = tb.VAE.for_data(x_train, latent=16)
trained = tb.fit(model, x_train, validation=x_val, epochs=5)

z = trained.encode(x_test)  # (300, 16) posterior means
new = trained.sample(64)  # (64, 8, 8) decoded draws from the prior, in the form of x
print(z.shape, new.shape)
print("bound on log p(x):", trained.evaluate(x_test, samples=100)["iwae"])
