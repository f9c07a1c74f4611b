"""Value of latent codes for their users: prediction, clustering, uncertainty, attributes."""
