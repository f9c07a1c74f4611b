"""My own training loop: optimizer, schedule, gradient accumulation. Analyses work on the model all the same."""

import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import tightbound as tb

x = torch.tensor(load_digits().images).unsqueeze(1)  # (1797, 1, 8, 8)
x_train, x_test = x[:1500], x[1500:]

model = tb.VAE.for_data(x_train, latent=8)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5)
for epoch in range(5):
    for step, batch in enumerate(DataLoader(TensorDataset(x_train), batch_size=64, shuffle=True)):
        loss = model.loss(batch[0], objective="iwae(samples=8)")  # nats per example; reduction="none" for each
        (loss / 2).backward()
        if step % 2:  # accumulate two batches
            optimizer.step()
            optimizer.zero_grad()
    schedule.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.2f} nats")
print(tb.evaluate(model, x_test, samples=100)["iwae"])
