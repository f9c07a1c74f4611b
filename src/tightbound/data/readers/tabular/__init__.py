"""Readers of tables: text, Parquet and data frames, with the meaning of their cells and columns."""
