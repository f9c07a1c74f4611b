"""The one idea: conditionals that return distributions, and the terms objectives are made of."""
