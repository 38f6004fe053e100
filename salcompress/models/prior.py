"""The hierarchical auto-regressive prior: p(z1, z2) = p(z2) p(z1 | z2), each factor auto-regressive
in few parallel groups.

For every symbol it gives one of 64 integer tables and a mean on a grid of 1/16; the symbol is the
latent less the mean, rounded. All of it is computed with integers (see
:mod:`salcompress.models.integer_layers`) from symbols and levels alone, so encoder and decoder get
the same tables on any machine. One ``traverse`` serves encoding, decoding and training; they differ
in the function that turns a group's tables and means into its values.

The groups are those of :mod:`salcompress.models.groups`.
"""

import hashlib

import torch
from torch import Tensor, nn

from salcompress.bitstream.format import MEAN_STEPS, NUM_LEVELS, NUM_TABLES
from salcompress.models.batch_extent import Extent
from salcompress.models.full_precision import full_precision
from salcompress.models.groups import (
    NUM_COARSE_GROUPS,
    NUM_GROUPS,
    CodeGroup,
    GroupParameters,
    put_group,
    quarters,
    take_group,
    take_phase,
)
from salcompress.models.integer_layers import (
    HIDDEN_MAX,
    RESIDUAL_MAX,
    DyadicBlock,
    DyadicConv,
    LevelEmbedding,
    project,
    relu,
    residual,
    round_to,
    rounded_together,
)
from salcompress.models.quality_map import spread


def _as_input(values: Tensor) -> Tensor:
    """Decoded values, multiples of 1/16, halved onto the residual grid; all that matters lies
    within +-32.
    """
    return (values * 0.5).clamp(-RESIDUAL_MAX, RESIDUAL_MAX)


def _table_and_mean(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Raw outputs (N, 2C, h, w), table halves first, to table and mean."""
    table, mean = raw.chunk(2, 1)
    return round_to(4 * table + 20, 1).clamp(0, NUM_TABLES - 1), round_to(mean, MEAN_STEPS)


class Level2Step(nn.Module):
    """Parameters of one half of the checkerboard from the other and the level."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.embedding = LevelEmbedding(NUM_LEVELS, width)
        self.context = DyadicConv(channels, channels, RESIDUAL_MAX, depthwise=True)
        self.mix = DyadicConv(channels, width, RESIDUAL_MAX)
        self.block = DyadicBlock(width)
        self.head = DyadicConv(width, 2 * channels, RESIDUAL_MAX)

    def forward(self, decoded: Tensor, levels: Tensor, inside: Tensor | None = None) -> Tensor:
        mixed = self.mix(residual(self.context(_as_input(decoded))))
        return self.head(self.block(residual(mixed + self.embedding(levels)), inside))


class Level1Step(nn.Module):
    """Parameters of one level-1 group from the level-2 features and what is decoded."""

    def __init__(self, channels: int, width: int, num_blocks: int):
        super().__init__()
        self.context = DyadicConv(channels, channels, RESIDUAL_MAX, depthwise=True)
        self.mix = DyadicConv(channels, width, RESIDUAL_MAX)
        self.here = DyadicConv(channels, width, RESIDUAL_MAX)
        self.block = DyadicBlock(width)
        self.more_blocks = nn.ModuleList(DyadicBlock(width) for _ in range(num_blocks - 1))
        self.hidden = nn.ModuleList(
            DyadicConv(width, width // 2, RESIDUAL_MAX) for _ in range(NUM_GROUPS)
        )
        self.head = nn.ModuleList(
            DyadicConv(width // 2, 2 * channels // NUM_GROUPS, HIDDEN_MAX)
            for _ in range(NUM_GROUPS)
        )

    def forward(
        self, decoded: Tensor, features: Tensor, index: int, inside: Tensor | None = None
    ) -> Tensor:
        seen = _as_input(decoded)
        mixed = residual(features + self.mix(residual(self.context(seen))))
        x = self.block(residual(mixed + self.here(seen)), inside)
        for block in self.more_blocks:
            x = block(x, inside)
        by_phase = [take_phase(x, *phase) for _, phase in quarters(index)]
        raw = [
            head(relu(hidden(part))) for hidden, head, part in zip(self.hidden, self.head, by_phase)
        ]
        tables, means = zip(*(part.chunk(2, 1) for part in raw))
        return torch.cat([*tables, *means], 1)


class Prior(nn.Module):
    """Prior of both latents.

    Args:
        latent_channels: C of level 1, a multiple of 4.
        hyper_channels: Z of level 2.
        width: Of its hidden layers, even.
        num_blocks: Of each step of level 1.
    """

    def __init__(self, latent_channels: int, hyper_channels: int, width: int, num_blocks: int = 1):
        super().__init__()
        self.latent_channels, self.hyper_channels = latent_channels, hyper_channels
        self.level2 = nn.ModuleList(
            Level2Step(hyper_channels, width) for _ in range(NUM_COARSE_GROUPS)
        )
        self.expand = DyadicConv(hyper_channels, 4 * width, RESIDUAL_MAX)
        self.expand_block = DyadicBlock(width)
        self.refine = DyadicConv(width, 4 * width, RESIDUAL_MAX)
        self.refine_block = DyadicBlock(width)
        self.embedding = LevelEmbedding(NUM_LEVELS, width)
        self.level1 = nn.ModuleList(
            Level1Step(latent_channels, width, num_blocks) for _ in range(NUM_GROUPS)
        )
        self.carrier = torch.float32

    def traverse(
        self, cell_levels: Tensor, code_group: CodeGroup, extent: Extent | None = None
    ) -> tuple[Tensor, Tensor]:
        """Visit all groups in the order of the stream.

        Args:
            cell_levels: Quality level of each 64 x 64 cell, integer (N, 1, rows, columns); beyond
                an image its last row and column repeat.
            code_group: Called for each group; what it returns is what later groups see.
            extent: Where the images are, if they are of several sizes. Beyond them the latents are
                0, and what groups get means nothing.

        Returns:
            Both latents as the groups' values, (N, C, 4 rows, 4 columns) and (N, Z, rows',
            columns'), where level 2 has one position a cell, padded to even sides.
        """
        precise = rounded_together(self._layers()) if self.training else full_precision()
        with torch.autocast(cell_levels.device.type, enabled=False), precise:
            return self._traverse(cell_levels, code_group, extent)

    def _traverse(
        self, cell_levels: Tensor, code_group: CodeGroup, extent: Extent | None
    ) -> tuple[Tensor, Tensor]:
        def inside(like: Tensor, per_cell: float, even: bool = False) -> Tensor | None:
            return None if extent is None else extent.inside(like.shape[2:], per_cell, even)

        def coded(group: GroupParameters, per_cell: float) -> Tensor:
            values = code_group(group).to(self.carrier)
            return (
                values
                if extent is None
                else values * extent.inside(values.shape[2:], per_cell, even=group.level == 2)
            )

        rows, columns = cell_levels.shape[2:]
        padded = nn.functional.pad(
            cell_levels.float(), (0, columns % 2, 0, rows % 2), mode="replicate"
        ).to(cell_levels.dtype)
        hyper = self._zeros(cell_levels, self.hyper_channels, *padded.shape[2:])
        for index, step in enumerate(self.level2):
            table, mean = (
                take_group(part, 2, index)
                for part in _table_and_mean(step(hyper, padded, inside(hyper, 1, even=True)))
            )
            hyper = put_group(hyper, 2, index, coded(GroupParameters(2, index, table, mean), 0.5))
        features = residual(nn.functional.pixel_shuffle(self.expand(_as_input(hyper)), 2))
        features = self.expand_block(features, inside(features, 2, even=True))
        features = residual(nn.functional.pixel_shuffle(self.refine(features), 2))[
            ..., : 4 * rows, : 4 * columns
        ]
        features = self.refine_block(
            residual(features + spread(self.embedding(cell_levels), 4)), inside(features, 4)
        )
        latent = self._zeros(cell_levels, self.latent_channels, 4 * rows, 4 * columns)
        for index, step in enumerate(self.level1):
            table, mean = _table_and_mean(step(latent, features, index, inside(latent, 4)))
            latent = put_group(latent, 1, index, coded(GroupParameters(1, index, table, mean), 2))
        return latent, hyper

    def _zeros(self, cell_levels: Tensor, *shape: int) -> Tensor:
        """For each image, channels last, in which the layers are fastest."""
        values = torch.empty(
            (len(cell_levels), *shape),
            dtype=self.carrier,
            device=cell_levels.device,
            memory_format=torch.channels_last,
        )
        return values.zero_()

    def _layers(self) -> list[DyadicConv]:
        return [module for module in self.modules() if isinstance(module, DyadicConv)]

    def project(self) -> None:
        """After an optimizer step: keep every partial sum exactly representable."""
        project(self._layers())

    def freeze(self, carrier: torch.dtype = torch.float32) -> None:
        """Make ready for coding: evaluation mode, weights fixed on their grid in ``carrier``,
        bounds proved.

        Raises:
            DataError: The weights break a bound.
        """
        self.eval()
        self.carrier = carrier
        for layer in self._layers():
            layer.freeze(carrier)

    @torch.no_grad()
    def known_answer(self, device: torch.device | str) -> str:
        """Digest of tables and means for a fixed input, computed on ``device``: the same wherever
        the prior is exact.
        """
        state, seen = hashlib.sha256(), 0
        generator = torch.Generator().manual_seed(7)
        levels = torch.randint(0, NUM_LEVELS, (2, 1, 3, 5), generator=generator).to(device)

        def code_group(group: GroupParameters) -> Tensor:
            nonlocal seen
            seen += 1
            table, mean = group.table.cpu().float(), group.mean.cpu().float()
            state.update(table.to(torch.int16).numpy().tobytes())
            state.update((mean * MEAN_STEPS).to(torch.int32).numpy().tobytes())
            symbols = torch.randint(
                -127, 128, table.shape, generator=torch.Generator().manual_seed(seen)
            )
            return (
                (symbols.float() * 2.0 ** -(seen % 5) + mean)
                .mul(MEAN_STEPS)
                .round()
                .div(MEAN_STEPS)
                .to(device)
            )

        self.traverse(levels, code_group)
        return state.hexdigest()
