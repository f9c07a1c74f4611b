"""Paths between latent codes."""
