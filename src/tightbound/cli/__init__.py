"""The command line. Parsing loads no torch."""
