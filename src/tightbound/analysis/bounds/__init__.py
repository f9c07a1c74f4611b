"""Bounds on log p(x), and how loose they are."""
