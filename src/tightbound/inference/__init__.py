"""What is made with a trained model: codes, reconstructions, samples, interpolations."""
