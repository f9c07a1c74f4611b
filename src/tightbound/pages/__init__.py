"""The report page of a run, with its pictures and figures."""
