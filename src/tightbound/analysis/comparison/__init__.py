"""Differences between trained models."""
