"""What comes out of a training: a weights file, and how it does on photographs by real streams."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from salcompress.codecs.salient import SalientCodec
from salcompress.evaluation.rate_distortion import RateDistortionPoint, measure_curve
from salcompress.files import write_atomically
from salcompress.models.compression_model import CompressionModel, save_model
from salcompress.training.loop import TrainResult


def write_weights(model: CompressionModel, result: TrainResult, out: Path) -> str:
    """Write the weights file of where training stopped; says what was written.

    Raises:
        OutputError: The file cannot be written.
    """
    finished = CompressionModel(model.config, model.trained_with)
    finished.load_state_dict({name: value.cpu() for name, value in result.weights.items()})
    # a mean of weights within the bounds lies within them, but for what float32 rounds
    finished.prior.project()
    write_atomically(out, save_model(finished))
    return f"{out}: {out.stat().st_size / 1e6:.2f} MB"


def validate(
    weights: Path, images: Sequence[np.ndarray], device: str | None
) -> list[RateDistortionPoint]:
    """Rate by real streams, and distortion, of a weights file on held-out images, at five qualities
    without saliency.
    """
    return measure_curve(
        (
            SalientCodec(q, saliency="uniform", weights=weights, device=device)
            for q in (0.0, 0.25, 0.5, 0.75, 1.0)
        ),
        images,
    )
