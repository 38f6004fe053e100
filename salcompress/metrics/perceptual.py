"""The learned perceptual metric: how far apart two pictures look.

The distance is the sum over layers l of ``mean over places of sum over channels c of
w_lc (f_lc(x) - f_lc(y))^2``. The features f of a place are a network's, divided by their length
over the channels; the weights w are learned and never negative. This is the manner of LPIPS
"scratch": Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
CVPR 2018, https://arxiv.org/abs/1801.03924. Our choices are the network, which was trained on
compression artefacts, a length that stays smooth where a patch is flat, and layers of plain colour
differences, by which no change of a pixel is free.

The module imports torch: import it late where a command may do without.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from salcompress.image import to_tensor
from salcompress.metrics.psnr_ssim import check_pair
from salcompress.models.weight_file import load_tensors, read_weight_file, weight_file

WEIGHTS = Path(__file__).parents[1] / "weights" / "perceptual.safetensors"
STRIDE = 16
"""Of the coarsest layer; sides are padded to multiples of it."""
HALO = 64
"""Rows beyond a strip on which its features depend, rounded up to a multiple of STRIDE."""
_STRIP_PIXELS = 2**19
_WIDTHS = (32, 64, 96, 128)
_OPPONENT = (
    (0.299, 0.587, 0.114),
    (0.5, -0.5, 0.0),
    (0.25, 0.25, -0.5),
)  # luma, red - green, yellow - blue
_POOLINGS = (1, 4, 16)


class PerceptualOutput(NamedTuple):
    """What the metric says of a batch of N pairs."""

    distance: Tensor
    """(N,): 0 for identical images and never negative. Near identity it grows as the square of the
    difference.
    """
    map: Tensor
    """(N, 1, H, W): where the distance lies. Its mean is about the distance, and not exactly so,
    because the layers are enlarged bilinearly.
    """


class PerceptualMetric(nn.Module):
    """A fully convolutional distance between images, of 0.47 M parameters.

    It is symmetric in the two images, and differentiable in both. Under bfloat16 autocast a Kodak
    image's distance was 1 % off at JPEG q=92, 0.2 % at q=50.

    >>> metric = PerceptualMetric.load()
    >>> metric(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)).distance
    tensor([0.])
    """

    log_scale: Tensor
    opponent: Tensor

    def __init__(self):
        super().__init__()
        stages, before = [], 12
        for index, width in enumerate(_WIDTHS):
            # the first stage sees 2x2 pixels as 12 channels: a convolution at full size would cost
            # more than all the others
            stages.append(
                nn.Sequential(
                    nn.Conv2d(before, width, 3, stride=2 if index else 1, padding=1),
                    nn.LeakyReLU(0.1),
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.LeakyReLU(0.1),
                )
            )
            before = width
        self.stages = nn.ModuleList(stages)
        self.channel_weights = nn.ParameterList([torch.full((width,), -2.0) for width in _WIDTHS])
        self.colour_weights = nn.Parameter(torch.zeros(3 * len(_POOLINGS)))
        self.length_floor = nn.Parameter(torch.zeros(len(_WIDTHS)))
        self.register_buffer("log_scale", torch.zeros(()))
        self.register_buffer(
            "opponent",
            torch.tensor(_OPPONENT, dtype=torch.float32)[:, :, None, None],
            persistent=False,
        )

    @classmethod
    def load(
        cls, path: Path | str | None = None, device: torch.device | str = "cpu"
    ) -> "PerceptualMetric":
        """The metric of a weights file, the shipped one if None; frozen, for use. Nothing is
        unpickled.

        Raises:
            SettingError: The file does not exist.
            DataError: It is damaged, not of this network, or holds values that are not finite.
        """
        path = Path(WEIGHTS if path is None else path)
        metric = cls()
        load_tensors(metric, read_weight_file(path, "a perceptual metric").tensors, path)
        return metric.to(device).eval().requires_grad_(False)

    def forward(self, reference: Tensor, image: Tensor) -> PerceptualOutput:
        """Distance and its map.

        Args:
            reference, image: (N, 3, H, W) in [0, 1], of any size; sides are padded to multiples of
                16 by their last pixels, which counts. Below some 32 pixels there is little to see.

        Raises:
            ValueError: The shapes differ, or are not (N, 3, H, W).
        """
        maps = self.layer_maps(reference, image)
        height, width = reference.shape[2:]
        full = [-(-side // STRIDE) * STRIDE for side in (height, width)]
        enlarged = [
            F.interpolate(m, full, mode="bilinear", align_corners=False)
            if list(m.shape[2:]) != full
            else m
            for m in maps
        ]
        whole: Tensor = functools.reduce(torch.add, enlarged)
        return PerceptualOutput(_total(maps), whole[:, :, :height, :width])

    def distance(self, reference: Tensor, image: Tensor) -> Tensor:
        """The distance alone, (N,): what a loss needs, without the cost of the map."""
        return _total(self.layer_maps(reference, image))

    def layer_maps(self, reference: Tensor, image: Tensor) -> list[Tensor]:
        """Weighted squared differences of each layer, (N, 1, h, w) at 1, 1/4, 1/16 (colours) and
        1/2, 1/4, 1/8, 1/16 (features) of the padded size. The distance is the sum of their means.

        Raises:
            ValueError: The shapes differ, or are not (N, 3, H, W).
        """
        if reference.shape != image.shape or image.dim() != 4 or image.shape[1] != 3:
            raise ValueError(
                f"images must both be (N, 3, H, W), got {tuple(reference.shape)} and "
                f"{tuple(image.shape)}"
            )
        return self.compare(self.features(reference), self.features(image))

    def features(self, image: Tensor) -> list[Tensor]:
        """Opponent colours at three poolings, then the normalised features of each stage."""
        height, width = image.shape[2:]
        image = F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        found = [F.conv2d(image, self.opponent)]
        found += [F.avg_pool2d(found[0], pooling) for pooling in _POOLINGS[1:]]
        x = F.pixel_unshuffle(image * 4 - 2, 2)
        for stage, floor in zip(self.stages, self.length_floor):
            x = stage(x)
            energy = x.square().sum(1, keepdim=True)
            found.append(
                x * torch.rsqrt(energy + F.softplus(floor).square() + 1e-3)
            )  # smooth where a patch is flat: never 0 / 0
        return found

    def compare(self, features_a: list[Tensor], features_b: list[Tensor]) -> list[Tensor]:
        """:meth:`layer_maps` from :meth:`features`, which may broadcast over N."""
        scale = self.log_scale.exp()
        # a floor under the colours' weights keeps every difference from being free
        weights = [
            *(F.softplus(self.colour_weights) + 0.05).split(3),
            *(F.softplus(w) for w in self.channel_weights),
        ]
        return [
            F.conv2d((a - b).square(), (scale * w)[None, :, None, None])
            for a, b, w in zip(features_a, features_b, weights)
        ]

    def to_bytes(self) -> bytes:
        """The weight file: half precision."""
        return weight_file({name: value.half() for name, value in self.state_dict().items()})


def perceptual_distance(
    reference: np.ndarray, image: np.ndarray, metric: PerceptualMetric | None = None
) -> float:
    """Distance of two images: 0 for identical ones, never negative, symmetric, about 1 for JPEG at
    quality 3.

    The module's docstring has the formula.

    Args:
        reference, image: uint8 (H, W, 3), RGB, of any size from 1x1 (see
        :meth:`PerceptualMetric.forward` for small ones).
        metric: The shipped one if None.

    Raises:
        SettingError: The shapes differ, or one is no image.
        DataError: The shipped weights are damaged.

    >>> grey = np.full((32, 32, 3), 128, np.uint8)
    >>> perceptual_distance(grey, grey), perceptual_distance(grey, grey + 1) > 0
    (0.0, True)
    """
    return perceptual_distances(reference, [image], metric)[0]


def perceptual_distances(
    reference: np.ndarray, images: Sequence[np.ndarray], metric: PerceptualMetric | None = None
) -> list[float]:
    """:func:`perceptual_distance` of several versions of one image, whose own features are computed
    once: nearly twice as fast.

    Works in strips that overlap, which gives the whole's distance up to float rounding in bounded
    memory.
    """
    for image in images:
        check_pair(reference, image)
    metric = shipped_metric() if metric is None else metric
    device = metric.log_scale.device
    height, width = reference.shape[:2]
    padded_height = -(-height // STRIDE) * STRIDE
    rows = max(64, _STRIP_PIXELS // width // STRIDE * STRIDE)
    sums = np.zeros((len(images), len(_POOLINGS) + len(_WIDTHS)))
    counts = np.zeros(sums.shape[1])
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for top in range(0, height, rows):
            first, last = max(0, top - HALO), min(height, top + rows + HALO)
            strip_height = -(-(last - first) // STRIDE) * STRIDE
            known = metric.features(to_tensor(reference[first:last]).to(device))
            for n, image in enumerate(images):
                for k, layer in enumerate(
                    metric.compare(known, metric.features(to_tensor(image[first:last]).to(device)))
                ):
                    shrink = strip_height // layer.shape[2]
                    kept = layer[
                        :,
                        :,
                        (top - first) // shrink : (min(top + rows, padded_height) - first)
                        // shrink,
                    ]
                    sums[n, k] += kept.sum(dtype=torch.float64).item()
                    counts[k] += kept.numel() if n == 0 else 0
    # float32 features are good for six digits; the rest would vary with the number of threads
    return [float(f"{value:.6g}") for value in (sums / counts).sum(1)]


@functools.cache
def shipped_fingerprint() -> str:
    """Eight digits of the shipped weights' fingerprint: distances of one fingerprint can stand
    beside each other.
    """
    return read_weight_file(WEIGHTS, "a perceptual metric").fingerprint[:8]


@functools.cache
def shipped_metric() -> PerceptualMetric:
    """The metric with the shipped weights, on the CPU, loaded once.

    Raises:
        SettingError: The weights file is missing.
        DataError: It is damaged.
    """
    return PerceptualMetric.load()


def _total(maps: list[Tensor]) -> Tensor:
    return torch.stack([m.mean((1, 2, 3)) for m in maps]).sum(0)
