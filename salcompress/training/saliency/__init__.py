"""Training of the saliency network, and its evaluation by folds."""
