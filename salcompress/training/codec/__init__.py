"""Training of the learned codec.

``start`` makes the networks, ``recipe`` says what a step sees and minimises, ``train`` runs the
steps, and ``outcome`` writes and checks the weights. ``growth`` makes a larger model out of a
smaller one, and ``command`` is what ``tools/train_codec.py`` runs.
"""

from salcompress.training.codec.outcome import validate, write_weights
from salcompress.training.codec.recipe import Recipe
from salcompress.training.codec.start import starting_model
from salcompress.training.codec.train import train_codec

__all__ = ["Recipe", "starting_model", "train_codec", "validate", "write_weights"]
