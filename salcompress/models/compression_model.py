"""The whole codec as one network: transforms, quality map and prior; its config and its weight
file.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from salcompress.bitstream.format import (
    CELL,
    EDGE,
    LARGEST_SCALE,
    MAX_SYMBOL,
    NUM_TABLES,
    PRECISION,
    SMALLEST_SCALE,
)
from salcompress.errors import DataError
from salcompress.models.batch_extent import Extent
from salcompress.models.groups import GroupParameters, put_group, take_group
from salcompress.models.prior import Prior
from salcompress.models.quality_map import Gain
from salcompress.models.transforms import (
    STRIDE,
    Analysis,
    HyperAnalysis,
    ResidualBlock,
    Synthesis,
)
from salcompress.models.weight_file import load_tensors, read_weight_file, weight_file

_CELL_POSITIONS = CELL // STRIDE


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network; stored in the weight file."""

    channels_8: int = 128
    """At 1/8 of the image."""
    channels_16: int = 320
    """At 1/16."""
    latent_channels: int = 320
    hyper_channels: int = 48
    prior_width: int = 128
    analysis_blocks_8: int = 3
    analysis_blocks_16: int = 2
    synthesis_blocks_16: int = 2
    synthesis_blocks_8: int = 4
    prior_blocks: int = 1
    """Of each step of level 1."""

    def __post_init__(self):
        for name, value in asdict(self).items():
            if "blocks" in name:
                if type(value) is not int or not 1 <= value <= 32:
                    raise ValueError(f"{name} must be an integer from 1 to 32, got {value!r}")
            elif type(value) is not int or not 4 <= value <= 1024 or value % 4:
                raise ValueError(f"{name} must be a multiple of 4 from 4 to 1024, got {value!r}")


@dataclass(frozen=True)
class TrainedWith:
    """What the loss weighed when the weights were trained; stored in the weight file.

    A search by the encoder (:mod:`salcompress.codecs.salient.search_loss`) weighs likewise. The
    default values are those of ``photo``, and of files that do not say
    (``salcompress/weights/README.md``).
    """

    saliency_weight: float = 1.5
    """Strength of :func:`salcompress.models.lagrangian.saliency_weights`."""
    perceptual_weight: float = 200.0
    """Squared error, in 8-bit units, that a perceptual distance of 1 counted as much as."""

    def __post_init__(self):
        for name, value in asdict(self).items():
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number of at least 0, got {value!r}")

    def departures(self) -> list[str]:
        """What is not as with ``photo``, for fingerprints.

        >>> TrainedWith(perceptual_weight=0.0).departures()
        ['perceptual_weight=0']
        """
        usual = asdict(TrainedWith())
        return [f"{name}={value:g}" for name, value in asdict(self).items() if value != usual[name]]


CONFIGS = {
    "small": ModelConfig(128, 192, 192, 48, 128),
    "base": ModelConfig(128, 320, 320, 48, 128),
    "large": ModelConfig(160, 320, 320, 48, 144),
}
"""To decode a pixel they take 10.7, 14.9 and 19.0 thousand multiplications and additions, the
prior's among them. Weights of ``base`` grow into ``large``
(:mod:`salcompress.training.codec.growth`)."""


class ModelOutput(NamedTuple):
    """What a forward pass gives for training."""

    reconstruction: Tensor
    """(N, 3, H, W), about [0, 1]."""
    estimated_bits_1: Tensor
    """At each position of level 1, (N, h, w): from likelihoods, not a rate."""
    estimated_bits_2: Tensor
    """The same of level 2, one position a cell, padded to even sides."""


class CompressionModel(nn.Module):
    """Saliency-driven hierarchical codec, one model for all rates.

    Args:
        config: Its sizes.
        trained_with: What the loss weighs in its training.
    """

    def __init__(self, config: ModelConfig, trained_with: TrainedWith = TrainedWith()):
        super().__init__()
        self.config, self.trained_with = config, trained_with
        c8, c16, latent, hyper = (
            config.channels_8,
            config.channels_16,
            config.latent_channels,
            config.hyper_channels,
        )
        self.analysis = Analysis(
            c8, c16, latent, config.analysis_blocks_8, config.analysis_blocks_16
        )
        self.synthesis = Synthesis(
            c8, c16, latent, config.synthesis_blocks_16, config.synthesis_blocks_8
        )
        self.hyper_analysis = HyperAnalysis(latent, config.prior_width, hyper)
        self.feature_gain, self.feature_gain_back = Gain(c16, 0.0), Gain(c16, 0.0)
        octaves = 3.4  # about half of log2(lambda) between the ends of the training range
        self.latent_gain, self.latent_gain_back = Gain(latent, octaves), Gain(latent, -octaves)
        self.prior = Prior(latent, hyper, config.prior_width, config.prior_blocks)

    def analyse(
        self, image: Tensor, cell_levels: Tensor, extent: Extent | None = None
    ) -> tuple[Tensor, Tensor]:
        """Latent, scaled so that its step is 1, and level-2 latent, both real-valued.

        Args:
            image: (N, 3, 64 rows, 64 columns) in [0, 1].
            cell_levels: Integer (N, 1, rows, columns).
            extent: Where the images are, if they are of several sizes; what the latents have beyond
                them means nothing.
        """
        latent = self.analysis(
            image, self.feature_gain(cell_levels, _CELL_POSITIONS), extent
        ) * self.latent_gain(cell_levels, _CELL_POSITIONS)
        rows, columns = (side + side % 2 for side in cell_levels.shape[2:])
        height, width = rows * _CELL_POSITIONS, columns * _CELL_POSITIONS
        if extent is None and (height, width) == latent.shape[2:]:
            padded = latent
        elif extent is None:
            padded = nn.functional.pad(
                latent, (0, width - latent.shape[3], 0, height - latent.shape[2]), mode="replicate"
            )
        else:
            padded = extent.repeat_edges(latent, _CELL_POSITIONS, height, width)
        return latent, self.hyper_analysis(padded, extent)

    def synthesise(
        self, latent: Tensor, cell_levels: Tensor, extent: Extent | None = None
    ) -> Tensor:
        """Image (N, 3, H, W), about [0, 1], from the latent as decoded."""
        gain_back = self.latent_gain_back(cell_levels, _CELL_POSITIONS)
        return self.synthesis(
            latent * gain_back, self.feature_gain_back(cell_levels, _CELL_POSITIONS), extent
        )

    def forward(self, image: Tensor, cell_levels: Tensor, hard: bool = False) -> ModelOutput:
        """Differentiable pass: values are rounded with straight-through gradients; rates use
        uniform noise in place of rounding.

        Args:
            hard: Take rates, too, of the rounded values, as coding does.
        """
        latent, hyper = self.analyse(image, cell_levels)
        latent, hyper = latent.float(), hyper.float()
        bits = {1: torch.zeros_like(latent), 2: torch.zeros_like(hyper)}

        def code_group(group: GroupParameters) -> Tensor:
            offset = (
                take_group(hyper if group.level == 2 else latent, group.level, group.index)
                - group.mean
            )
            rounded = offset + (offset.round() - offset).detach()
            rounded = rounded.clamp(-MAX_SYMBOL, MAX_SYMBOL)
            noisy = rounded if hard else offset + torch.rand_like(offset) - 0.5
            bits[group.level] = put_group(
                bits[group.level], group.level, group.index, self.estimated_bits(noisy, group.table)
            )
            return rounded + group.mean

        decoded, _ = self.prior.traverse(cell_levels, code_group)
        return ModelOutput(self.synthesise(decoded, cell_levels), bits[1].sum(1), bits[2].sum(1))

    def estimated_bits(self, symbols: Tensor, table: Tensor) -> Tensor:
        """Bits of symbols under the continuous form of the tables, which no symbol of the tables
        costs more than 24.
        """
        scale = SMALLEST_SCALE * torch.exp(
            table * (math.log(LARGEST_SCALE / SMALLEST_SCALE) / (NUM_TABLES - 1))
        )
        distance = symbols.abs()
        likelihood = torch.special.ndtr((0.5 - distance) / scale) - torch.special.ndtr(
            (-0.5 - distance) / scale
        )
        # Every symbol has a frequency of at least 1 in the tables. The slope keeps symbols far out
        # in a tail, whose likelihood has no gradient left, moving towards where they are coded
        # cheaply.
        floor = 2.0**-PRECISION
        tail = (likelihood < 2 * floor) * 1e-2 * (distance / scale - (distance / scale).detach())
        return -torch.log2((1 - (2 * EDGE + 1) * floor) * likelihood + floor) + tail


def save_model(model: CompressionModel) -> bytes:
    """The weight file of a model: exact for the prior, whose weights are small integers over 512,
    and rounded for the transforms.

    Layers that residual blocks and the hyper-analysis name as ``in_8_bits`` are kept in 8 bits.
    All else of the transforms is kept in half precision. A model that was loaded is saved as the
    same bytes. Of a model of config ``large``, 3.7 of 5.9 million weights are in 8 bits. Against
    half precision alone its rate changed by at most 0.08 % and its PSNR by at most 0.012 dB, on
    three Kodak images at q = 0, 0.3, 0.6 and 1.

    With the config it holds the prior's answer to a fixed question, which every machine that loads
    it must give, and what the loss weighed in training.
    """
    rounded = {
        id(layer.weight)
        for module in model.modules()
        if isinstance(module, (ResidualBlock, HyperAnalysis))
        for layer in module.in_8_bits
    }
    in_8_bits = {name for name, value in model.named_parameters() if id(value) in rounded}
    state = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu()
        if name.startswith("prior."):
            steps = 2**9 if name.endswith(".weight") else 2**14 if name.endswith(".bias") else 2**5
            value = torch.floor(value.double() * steps + 0.5) / steps
            exact_half = torch.equal(value.half().double(), value)
            state[name] = value.half() if exact_half else value.float()
        else:
            state[name] = value.float() if name in in_8_bits else value.half()
    frozen = CompressionModel(model.config).float()
    frozen.load_state_dict({name: value.float() for name, value in state.items()})
    frozen.prior.freeze()
    return weight_file(
        state,
        in_8_bits,
        config=json.dumps(asdict(model.config)),
        trained_with=json.dumps(asdict(model.trained_with)),
        known_answer=frozen.prior.known_answer("cpu"),
    )


def load_model(path: Path | str) -> tuple[CompressionModel, bytes]:
    """A model ready for coding, on the CPU, and the first four bytes of its fingerprint.

    Raises:
        SettingError: The file does not exist.
        DataError: The file is damaged or of another network, or its weights break the bounds of
            exactness.
    """
    file = read_weight_file(path, "a codec")
    try:
        config = ModelConfig(**json.loads(file.metadata["config"]))
        trained_with = TrainedWith(**json.loads(file.metadata.get("trained_with", "{}")))
        known_answer = file.metadata["known_answer"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a codec's weights file: {error}") from error
    model = CompressionModel(config, trained_with)
    load_tensors(model, file.tensors, path)
    model.eval()
    for carrier in (torch.float32, torch.float64):
        model.prior.freeze(carrier)
        if model.prior.known_answer("cpu") == known_answer:
            return model, bytes.fromhex(file.fingerprint)[:4]
    raise DataError(
        f"{path}: the prior does not give its known answer: the weights are damaged, or this "
        "machine's floating point is not exact where it must be"
    )
