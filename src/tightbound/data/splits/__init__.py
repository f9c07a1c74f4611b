"""Ways to read examples in batches: by position, in groups, by worker processes, from loaders and as streams."""
