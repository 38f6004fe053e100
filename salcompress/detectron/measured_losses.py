"""What a codec costs a detector in the detector's own losses and features, on labelled pictures.

Losses change with every pixel, where AP changes only with detections that cross a threshold. They
are no AP: a detector may lose little of one and much of the other.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig
from torch import nn

from salcompress.codecs import Codec
from salcompress.detectron.detector_losses import Teaching, detector_losses, give_losses
from salcompress.detectron.device_transforms import for_detector
from salcompress.detectron.image_format import rgb_of
from salcompress.detectron.lazy_engine import load_lazy_config
from salcompress.detectron.scenes_dataset import register_scenes
from salcompress.errors import SettingError

_SEED = 1


class MeasuredLosses(NamedTuple):
    """What a detector makes of pictures that a codec decoded; means over the pictures."""

    bpp: float
    """All bits of all streams over all pixels that were coded."""
    detection: float
    """Sum of the detector's own losses."""
    features: float
    """Relative squared difference of its features from those of the originals, channel by channel,
    as :func:`~salcompress.detectors.feature_distance.feature_distance` has it.
    """


def labelled_pictures(dataloader: DictConfig, passes: int = 1) -> list[dict[str, Any]]:
    """The pictures of a LazyConfig's training data, as its mapper gives them.

    Args:
        dataloader: With ``dataset`` and ``mapper``; an
            :class:`~salcompress.detectron.original_mapper.OriginalImageMapper`, if its crops and
            flips are to follow the codec. What is random is drawn with one seed.
        passes: How often each picture is drawn.

    Returns:
        Detectron2's dicts. Pictures without objects are left out, as in training.
    """
    dataset, mapper = instantiate(dataloader.dataset), instantiate(dataloader.mapper)
    state = np.random.get_state()
    np.random.seed(_SEED)
    try:
        drawn = [mapper(entry) for _ in range(passes) for entry in dataset]
    finally:
        np.random.set_state(state)
    return [x for x in drawn if x is not None and len(x["instances"])]


@torch.no_grad()
def measured_losses(
    detector: nn.Module,
    codec: Codec,
    pictures: Sequence[dict[str, Any]],
    image_format: str,
    features: Sequence[str] = (),
) -> MeasuredLosses:
    """Losses of a detector on pictures that a codec coded to real streams, one by one.

    Args:
        detector: With ``backbone`` and ``preprocess_image``, as GeneralizedRCNN has, on any device.
            It is left in training, with norms as at test.
        codec: Any codec.
        pictures: As of :func:`labelled_pictures`; their ``transforms`` follow the codec.
        image_format: "BGR" or "RGB", how the pictures' channels lie.
        features: Names of the backbone's outputs, and of modules within it, that are compared; all
            outputs where it is empty.

    Raises:
        SettingError: There are no pictures, or a feature is none of the backbone's.
    """
    if not pictures:
        raise SettingError("there is no picture with objects to measure losses on")
    device = next(detector.parameters()).device
    teaching = Teaching(True, 1.0, tuple(features))
    bits = pixels = 0
    losses = []
    give_losses(detector)
    with torch.random.fork_rng(), EventStorage():  # into which Detectron2's heads write
        torch.manual_seed(_SEED)  # which proposals are sampled
        for x in pictures:
            original = rgb_of(x, image_format, torch.device("cpu"))
            stream = codec.encode(np.ascontiguousarray(original.permute(1, 2, 0).numpy()))
            decoded = torch.from_numpy(codec.decode(stream)).permute(2, 0, 1)
            bits, pixels = bits + 8 * len(stream), pixels + original[0].numel()
            seen, clean = (
                [for_detector(x, picture.to(device), image_format)]
                for picture in (decoded, original)
            )
            found = detector_losses(detector, seen, clean, teaching)
            distance = found.pop("loss_distillation").item()
            losses.append((sum(loss.item() for loss in found.values()), distance))
    detection, distance = np.mean(losses, 0).tolist()
    return MeasuredLosses(bits / pixels, detection, distance)


def measure_config(
    path: str, options: Sequence[str], codecs: Sequence[Codec], passes: int = 1
) -> list[list[str]]:
    """Rows of a table: each codec, its bits per pixel, the detector's losses and the distance of
    its features.

    Args:
        path: A LazyConfig whose model is a
            :class:`~salcompress.detectron.model.CompressedDetector`. Its detector, the features
            that it compares, and the training data are used.
        options: KEY=VALUE over it.
        codecs: What is measured.
        passes: As of :func:`labelled_pictures`.

    Raises:
        SettingError: The config cannot be read, is of another stage, or has no pictures.
    """
    cfg = load_lazy_config(path, list(options))
    if "detector" not in cfg.model or "codec" not in cfg.model:
        raise SettingError(f"{path} has no codec in its model: give a LazyConfig of stage model")
    register_scenes()
    detector = instantiate(cfg.model.detector).to(cfg.train.device)
    pictures = labelled_pictures(cfg.dataloader.train, passes)
    features = cfg.model.get("distilled_features", ())
    image_format = cfg.dataloader.train.mapper.image_format
    rows = []
    for codec in codecs:
        found = measured_losses(detector, codec, pictures, image_format, features)
        rows.append([codec.label, *(f"{figure:.4f}" for figure in found)])
    return rows
