"""What comes out of a training: a weights file, and its rate and distortion by real streams."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from salcompress.codecs.salient import SalientCodec
from salcompress.evaluation.rate_distortion import RateDistortionPoint, measure_curve
from salcompress.files import write_atomically
from salcompress.models.compression_model import CompressionModel, save_model
from salcompress.training.loop import TrainResult


def write_weights(model: CompressionModel, result: TrainResult, out: Path) -> str:
    """Write the weights file of a training as it stopped.

    Args:
        model: The networks that were trained.
        result: Where training stopped.
        out: The weights file.

    Returns:
        A line that says what was written.

    Raises:
        OutputError: The file cannot be written.
    """
    finished = CompressionModel(model.config, model.trained_with)
    finished.load_state_dict({name: value.cpu() for name, value in result.weights.items()})
    # a mean of weights within the bounds lies within them, except where float32 rounds it
    finished.prior.project()
    write_atomically(out, save_model(finished))
    return f"{out}: {out.stat().st_size / 1e6:.2f} MB"


def validate(
    weights: Path, images: Sequence[np.ndarray], device: str | None
) -> list[RateDistortionPoint]:
    """Code held-out images to real streams at five qualities, without saliency.

    Args:
        weights: The codec's weights file.
        images: uint8 (H, W, 3) each.
        device: Where the networks compute; None chooses.

    Returns:
        Rate and distortion at each quality.
    """
    return measure_curve(
        [
            SalientCodec(q, saliency="uniform", weights=weights, device=device)
            for q in (0.0, 0.25, 0.5, 0.75, 1.0)
        ],
        images,
    )
