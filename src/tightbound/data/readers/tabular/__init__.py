"""Tables: text, Parquet and data frames; what their cells and columns mean; typed columns as arrays."""
