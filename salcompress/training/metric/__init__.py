"""Training of the learned perceptual metric, and how well it agrees with its labels."""
