"""Modules that several benchmarks and contestants share; `worker` needs only the standard library."""
