"""What is wrong with a model, with evidence and a remedy."""
