"""Use of a trained model: latent codes, reconstructions, samples and interpolations."""
