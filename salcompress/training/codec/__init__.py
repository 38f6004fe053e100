"""Training of the learned codec: the recipe and its loop, and what comes out of it."""

from salcompress.training.codec.outcome import validate, write_weights
from salcompress.training.codec.recipe import Recipe
from salcompress.training.codec.start import starting_model
from salcompress.training.codec.train import train_codec

__all__ = ["Recipe", "starting_model", "train_codec", "validate", "write_weights"]
