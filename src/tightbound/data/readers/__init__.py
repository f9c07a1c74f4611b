"""Readers of files and objects. Each raises `InputError` for what it cannot read or use."""
