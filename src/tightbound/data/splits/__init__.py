"""Splits of a data set, read in batches: by position, in groups, by worker processes, from loaders and streams."""
