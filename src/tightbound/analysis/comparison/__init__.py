"""Paired differences between models."""
