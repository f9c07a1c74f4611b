"""What latent codes are worth to those who use them: prediction, clustering, uncertainty, attributes."""
