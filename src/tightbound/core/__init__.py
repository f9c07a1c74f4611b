"""Algebra of a model: conditionals that return distributions, and the terms that objectives are computed from."""
