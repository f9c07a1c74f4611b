"""Scores of unusual examples, and how well they detect another data set."""
