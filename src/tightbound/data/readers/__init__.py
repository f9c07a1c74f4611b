"""Readers: from files and objects of other packages to data sets."""
