"""The fit loop on plain torch, checkpoints and run folders."""
