"""What the tests of the encoder's search share."""

import numpy as np

from salcompress.codecs.salient import SalientCodec, search_loss
from salcompress.metrics.perceptual import perceptual_distance
from salcompress.models.compression_model import TrainedWith
from salcompress.models.lagrangian import HIGHEST_LAMBDA, LOWEST_LAMBDA


def searching(effort, q=0.4, **options):
    return SalientCodec(q, **{"saliency": "uniform", "device": "cpu"} | options, effort=effort)


def lambda_(codec):
    return LOWEST_LAMBDA * (HIGHEST_LAMBDA / LOWEST_LAMBDA) ** (codec.base_level / 63)


PERCEPTUAL_WEIGHT = search_loss.PERCEPTUAL_SHARE * TrainedWith().perceptual_weight


def loss_in_bpp(codec, image, stream, perceptual_weight=PERCEPTUAL_WEIGHT):
    """What the search minimises, of the real stream."""
    decoded = codec.decode(stream)
    error = np.square(decoded.astype(float) - image).mean()
    distance = perceptual_distance(image, decoded)
    return 8 * len(stream) / image[:, :, 0].size + lambda_(codec) * (
        search_loss.ERROR_WEIGHT * error + perceptual_weight * distance
    )
