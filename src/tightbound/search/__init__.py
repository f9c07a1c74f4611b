"""Searches over settings: what varies, who trains what, and what is chosen by. Free of torch until something trains."""
