"""Images to symbols to streams and back, in batches of one padded size: the working part of the
learned codec.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.container import Header, read_stream, symbol_checksum, write_stream
from salcompress.bitstream.entropy_coder import TABLE_BITS, GroupDecoder, count_bits, encode_groups
from salcompress.bitstream.format import CELL, EDGE, HEADER_BYTES, MAX_SYMBOL, NUM_LEVELS, cells_of
from salcompress.codecs.base import CodingMaps
from salcompress.codecs.salient.refine import Search, refine
from salcompress.errors import CorruptError
from salcompress.image import PLACE
from salcompress.models.batch_extent import Extent
from salcompress.models.compression_model import CompressionModel
from salcompress.models.full_precision import full_precision
from salcompress.models.prior import (
    NUM_COARSE_GROUPS,
    NUM_GROUPS,
    GroupParameters,
    checkerboard,
    quarters,
    take_group,
)
from salcompress.models.quality_map import block_means

Group = tuple[np.ndarray, np.ndarray]
"""Symbols int32 (n,) and tables uint8 (n,)."""
OVERHEAD_BITS = 8 * HEADER_BYTES + 32
"""Of a stream beside what its symbols cost: the header, and half a word of the coder's state."""


class Analysed(NamedTuple):
    """One image as symbols."""

    levels: np.ndarray
    """Of each cell, uint8 (rows, columns)."""
    groups: list[np.ndarray]
    """Symbols of each group, int32 (C', h', w'), level 2 first."""
    tables: list[np.ndarray]
    """Their tables, uint8 of the same shapes."""
    latent: Tensor
    """What the decoder will see, (1, C, h, w)."""
    cell_levels: Tensor
    """``levels`` as a tensor, (1, 1, rows, columns)."""


class SymbolTensors(NamedTuple):
    """Images of one batch as symbols, on the networks' device."""

    groups: list[Tensor]
    """Symbols of each group, int32 (N, C', h', w'), level 2 first."""
    tables: list[Tensor]
    """Their tables, uint8 of the same shapes."""
    latent: Tensor
    """What the decoder will see, (N, C, h, w)."""
    cell_levels: Tensor
    """Integer (N, 1, rows, columns)."""
    extent: Extent | None = None
    """Where the images are, if they are of several sizes: what lies beyond means nothing."""


class Decoded(NamedTuple):
    """Streams of one padded size, decoded as far as symbols go."""

    latent: Tensor
    """(N, C, h, w)."""
    cell_levels: Tensor
    """Integer (N, 1, rows, columns)."""
    groups: list[np.ndarray]
    """Symbols of each group, int32 (N, C', h', w'), level 2 first."""
    tables: list[np.ndarray]
    """Their tables, uint8 of the same shapes."""


@contextlib.contextmanager
def _coding(model: CompressionModel) -> Iterator[torch.device]:
    """What holds around the networks when they code, whatever the caller's training loop has set:
    no gradients, no lower precision.
    """
    device = next(model.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, enabled=False), full_precision():
        yield device


def analyse_padded(
    model: CompressionModel,
    images: Tensor,
    cell_levels: Tensor,
    mixed_precision: bool = False,
    extent: Extent | None = None,
    search: Search | None = None,
) -> SymbolTensors:
    """Symbols of images that are padded to one size; all of it on the networks' device, without
    waiting for it.

    Args:
        images: uint8 (N, 3, 64 rows, 64 columns), RGB.
        cell_levels: Integer (N, 1, rows, columns); beyond an image its last row and column repeat.
        mixed_precision: The analysis in bfloat16; the prior is exact in any case.
        extent: Where the images are, if they are of several numbers of cells.
        search: Refine the latents before they are coded.
    """
    groups: list[Tensor] = []
    tables: list[Tensor] = []

    def code_group(group: GroupParameters) -> Tensor:
        target = take_group(hyper if group.level == 2 else latent, group.level, group.index)
        symbols = torch.round(target - group.mean).clamp_(-MAX_SYMBOL, MAX_SYMBOL)
        groups.append(symbols.to(torch.int32))
        tables.append(group.table.to(torch.uint8))
        return symbols + group.mean

    with _coding(model) as device:
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision):
            latent, hyper = model.analyse(images.float().div_(255), cell_levels, extent)
        latent, hyper = latent.float(), hyper.float()
        if search is not None:
            latent, hyper = refine(
                model, images, cell_levels, latent, hyper, search, extent, mixed_precision
            )
        decoded, _ = model.prior.traverse(cell_levels, code_group, extent)
    return SymbolTensors(groups, tables, decoded, cell_levels, extent)


def analyse(
    model: CompressionModel,
    images: Sequence[np.ndarray],
    levels: Sequence[np.ndarray],
    search: Search | None = None,
) -> list[Analysed]:
    """Symbols of images whose levels have one shape, by the analysis alone or after a search."""
    device = next(model.parameters()).device
    batch = torch.from_numpy(
        np.stack([_pad(image, found.shape) for image, found in zip(images, levels)])
    ).to(device)
    cell_levels = torch.from_numpy(np.stack(levels)[:, None].astype(np.int64)).to(device)
    found = analyse_padded(model, batch.permute(0, 3, 1, 2), cell_levels, search=search)
    return split(
        levels,
        [group.cpu().numpy() for group in found.groups],
        [used.cpu().numpy() for used in found.tables],
        found,
    )


def split(
    levels: Sequence[np.ndarray],
    groups: Sequence[np.ndarray],
    tables: Sequence[np.ndarray],
    found: SymbolTensors,
) -> list[Analysed]:
    """Image by image what was found of a batch, given what of it has come to the host."""
    return [
        Analysed(
            levels[k],
            [s[k] for s in groups],
            [t[k] for t in tables],
            found.latent[k : k + 1],
            found.cell_levels[k : k + 1],
        )
        for k in range(len(levels))
    ]


def write(found: Analysed, size: tuple[int, int], level: int, fingerprint: bytes) -> bytes:
    """The .salc stream of an image of ``size`` (height, width) coded at base ``level``."""
    map_table, map_groups = _map_groups(found.levels, level)
    payload = encode_groups(
        [*map_groups, *((s.reshape(-1), t.reshape(-1)) for s, t in zip(found.groups, found.tables))]
    )
    header = Header(
        *size,
        level,
        map_table,
        fingerprint,
        len(payload),
        symbol_checksum(found.groups[:NUM_COARSE_GROUPS], found.levels),
        symbol_checksum(found.groups[NUM_COARSE_GROUPS:]),
    )
    return write_stream(header, payload)


def count(found: Analysed, level: int) -> tuple[int, np.ndarray]:
    """Length of the stream in bits by the integer tables, header included, and what of it
    :func:`spatial_bits` places.
    """
    places = spatial_bits(found.levels, found.groups, found.tables, level)
    return int(np.ceil(places.sum())) + OVERHEAD_BITS, places


def spatial_bits(
    levels: np.ndarray, groups: Sequence[np.ndarray], tables: Sequence[np.ndarray], level: int
) -> np.ndarray:
    """Bits at each 16x16 place of the padded image by the integer tables, float64 (4 rows, 4
    columns).

    A cell's level-2 symbols and its entry of the quality map count in equal parts at its 16 places;
    the header counts nowhere.

    Args:
        levels: Of each cell, uint8 (rows, columns); ``level`` is the base.
        groups, tables: Of one image, as in :class:`Analysed`.
    """
    cells, places = np.zeros(levels.shape), np.zeros([4 * side for side in levels.shape])
    for index, (symbols, used) in enumerate(zip(groups, tables)):
        bits = count_bits(symbols, used)
        if index < NUM_COARSE_GROUPS:
            for part, (row, column) in zip(np.split(bits, 2), checkerboard(index)):
                _add_to_cells(cells, part.sum(0), row, column, 2)
        else:
            for part, (_, (row, column)) in zip(
                np.split(bits, NUM_GROUPS), quarters(index - NUM_COARSE_GROUPS)
            ):
                places[row::2, column::2] += part.sum(0)
    for differences, table in _map_groups(levels, level)[1]:
        cells += count_bits(differences, table).reshape(cells.shape)
    return places + np.kron(cells / 16, np.ones((4, 4)))


def read(
    model: CompressionModel, opened: Sequence[tuple[Header, bytes]], shape: tuple[int, int]
) -> Decoded:
    """What streams hold whose images have ``shape`` cells.

    Raises:
        CorruptError: A stream is damaged.
    """
    decoders = [GroupDecoder(payload) for _, payload in opened]
    levels = np.stack(
        [_read_levels(decoder, header, shape) for decoder, (header, _) in zip(decoders, opened)]
    )
    groups: list[np.ndarray] = []
    tables: list[np.ndarray] = []

    def code_group(group: GroupParameters) -> Tensor:
        tables.append(group.table.to(torch.uint8).cpu().numpy())
        symbols = np.stack(
            [
                decoder.decode(t.reshape(-1)).reshape(t.shape)
                for decoder, t in zip(decoders, tables[-1])
            ]
        )
        groups.append(symbols)
        if (
            len(groups) < NUM_COARSE_GROUPS + NUM_GROUPS
        ):  # words that run out early: the header lies about its size; more work is for nothing
            _check(not any(decoder.is_empty() for decoder in decoders))
        if (
            len(groups) == NUM_COARSE_GROUPS
        ):  # before the memory of level 1 is taken: the header may lie about its size
            for k, (header, _) in enumerate(opened):
                _check(symbol_checksum([g[k] for g in groups], levels[k]) == header.coarse_crc)
        return torch.from_numpy(symbols).to(device).to(group.mean) + group.mean

    with _coding(model) as device:
        cell_levels = torch.from_numpy(levels[:, None].astype(np.int64)).to(device)
        latent, _ = model.prior.traverse(cell_levels, code_group)
    for k, (decoder, (header, _)) in enumerate(zip(decoders, opened)):
        _check(
            decoder.is_empty()
            and symbol_checksum([g[k] for g in groups[NUM_COARSE_GROUPS:]]) == header.fine_crc
        )
    return Decoded(latent, cell_levels, groups, tables)


def maps_of(
    model: CompressionModel, header: Header, payload: bytes, saliency: np.ndarray
) -> CodingMaps:
    """What a stream's encoder did where, given the saliency, (H, W) in [0, 1], that steered it."""
    shape = cells_of(header.height, header.width)
    decoded = read(model, [(header, payload)], shape)
    levels = decoded.cell_levels[0, 0].cpu().numpy().astype(np.uint8)
    bits = spatial_bits(
        levels,
        [group[0] for group in decoded.groups],
        [tables[0] for tables in decoded.tables],
        header.level,
    )
    per_cell = CELL // PLACE
    seen = block_means(saliency, *(per_cell * side for side in shape), PLACE)
    quality = np.kron(levels / (NUM_LEVELS - 1), np.ones((per_cell, per_cell)))
    return CodingMaps(seen.astype(np.float32), quality.astype(np.float32), bits.astype(np.float32))


def _check(right: bool) -> None:
    if not right:
        raise CorruptError(
            "the decoded symbols do not match their checksum: the stream is damaged, or this "
            "machine computes "
            "other tables than the one that encoded it"
        )


def synthesise_padded(
    model: CompressionModel,
    latents: Tensor,
    cell_levels: Tensor,
    mixed_precision: bool = False,
    extent: Extent | None = None,
) -> Tensor:
    """Padded images, uint8 (N, 3, H, W), on the networks' device; with ``mixed_precision`` computed
    in bfloat16.
    """
    with (
        _coding(model) as device,
        torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision),
    ):
        image = model.synthesise(latents.float(), cell_levels, extent)
    return image.float().mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def synthesise(model: CompressionModel, latents: Tensor, cell_levels: Tensor) -> np.ndarray:
    """Padded images, uint8 (N, H, W, 3)."""
    return synthesise_padded(model, latents, cell_levels).permute(0, 2, 3, 1).cpu().numpy()


def time_parts(
    model: CompressionModel,
    image: np.ndarray,
    levels: np.ndarray,
    level: int,
    fingerprint: bytes,
    search: Search | None = None,
) -> dict[str, float]:
    """Seconds of analysis (float networks of the encoder), search if there is one, prior (once: it
    runs in both), coding of symbols each way, and synthesis."""
    (found,) = analyse(model, [image], [levels])
    stream = write(found, image.shape[:2], level, fingerprint)
    device = found.latent.device
    symbols = [torch.from_numpy(group)[None].to(device) for group in found.groups]

    def analysis() -> None:
        pixels = (
            torch.from_numpy(_pad(image, levels.shape)[None])
            .to(device)
            .permute(0, 3, 1, 2)
            .float()
            .div_(255)
        )
        model.analyse(pixels, found.cell_levels)[1].cpu()

    def prior() -> None:
        values = iter(symbols)
        model.prior.traverse(found.cell_levels, lambda group: next(values) + group.mean)[0].cpu()

    def decoding() -> None:
        header, payload = read_stream(stream, fingerprint)
        decoder = GroupDecoder(payload)
        _read_levels(decoder, header, levels.shape)
        symbol_checksum([decoder.decode(tables.reshape(-1)) for tables in found.tables])

    parts = {
        "analysis": analysis,
        "prior": prior,
        "coding": lambda: write(found, image.shape[:2], level, fingerprint),
        "decoding": decoding,
        "synthesis": lambda: synthesise(model, found.latent, found.cell_levels),
    }
    if search is not None:

        def searching() -> None:
            pixels = (
                torch.from_numpy(_pad(image, levels.shape)[None]).to(device).permute(0, 3, 1, 2)
            )
            latents = model.analyse(pixels.float().div_(255), found.cell_levels)
            refine(model, pixels, found.cell_levels, *latents, search)[0].cpu()

        parts["search"] = searching
    seconds = {}
    with _coding(model):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            seconds[name] = time.perf_counter() - started
    return seconds


def _pad(image: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.copyMakeBorder(
        image, 0, cells[0] * CELL - height, 0, cells[1] * CELL - width, cv2.BORDER_REPLICATE
    )


def _map_groups(levels: np.ndarray, level: int) -> tuple[int | None, list[Group]]:
    """The quality map as a group: differences from the cell before (above, in the first column), by
    the table that suits them best.
    """
    if (levels == level).all():
        return None, []
    wide = levels.astype(np.int32)
    before = np.concatenate([np.concatenate([[[level]], wide[:-1, :1]]), wide[:, :-1]], 1)
    differences = (wide - before).reshape(-1)
    table = int(np.argmin(TABLE_BITS[:, differences + EDGE].sum(1)))
    return table, [(differences, np.full(differences.shape, table, np.uint8))]


def _read_levels(decoder: GroupDecoder, header: Header, shape: tuple[int, int]) -> np.ndarray:
    if header.map_table is None:
        return np.full(shape, header.level, np.uint8)
    differences = decoder.decode(np.full(shape[0] * shape[1], header.map_table, np.uint8)).reshape(
        shape
    )
    levels = differences.astype(np.int64)
    levels[:, 0] = header.level + np.cumsum(levels[:, 0])
    levels = np.cumsum(levels, 1)
    if levels.min() < 0 or levels.max() >= NUM_LEVELS:
        raise CorruptError("the quality map is damaged: a level is out of range")
    return levels.astype(np.uint8)


def _add_to_cells(cells: np.ndarray, bits: np.ndarray, row: int, column: int, stride: int) -> None:
    """Add bits at places (row + stride i, column + stride j); a place of padding, beyond the last
    cell, counts with that.
    """
    rows = np.minimum(row + stride * np.arange(bits.shape[0]), cells.shape[0] - 1)
    columns = np.minimum(column + stride * np.arange(bits.shape[1]), cells.shape[1] - 1)
    np.add.at(cells, (rows[:, None], columns[None, :]), bits)
