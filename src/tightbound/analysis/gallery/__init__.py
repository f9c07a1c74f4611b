"""Pictures of what a model makes, of its latent space, its training and its code indices."""
