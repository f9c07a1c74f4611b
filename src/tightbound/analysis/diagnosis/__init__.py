"""Faults of a model, each with its evidence and a remedy."""
