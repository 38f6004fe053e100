"""Images to symbols to streams and back, in batches of one padded size: the working part of the
learned codec.
"""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.container import Header, symbol_checksum, write_stream
from salcompress.bitstream.entropy_coder import GroupDecoder, encode_groups
from salcompress.bitstream.format import CELL, MAX_SYMBOL, NUM_LEVELS, cells_of
from salcompress.codecs.base import CodingMaps
from salcompress.codecs.salient.bit_counter import spatial_bits
from salcompress.codecs.salient.level_map import map_group, read_levels
from salcompress.codecs.salient.refine import Search, refine
from salcompress.codecs.salient.symbols import HostSymbols, SymbolTensors
from salcompress.errors import CorruptError
from salcompress.image import PLACE
from salcompress.models.batch_extent import Extent
from salcompress.models.compression_model import CompressionModel
from salcompress.models.full_precision import full_precision
from salcompress.models.groups import NUM_COARSE_GROUPS, NUM_GROUPS, GroupParameters, take_group
from salcompress.models.quality_map import block_means


@contextlib.contextmanager
def coding(model: CompressionModel) -> Iterator[torch.device]:
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
        # Here a pixel becomes a symbol: what the latent is beyond its predicted mean, rounded.
        symbols = torch.round(target - group.mean).clamp_(-MAX_SYMBOL, MAX_SYMBOL)
        groups.append(symbols.to(torch.int32))
        tables.append(group.table.to(torch.uint8))
        return symbols + group.mean

    with coding(model) as device:
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
) -> SymbolTensors:
    """Symbols of images, uint8 (H, W, 3), whose levels, uint8 (rows, columns), have one shape: by
    the analysis alone or after a search.
    """
    device = next(model.parameters()).device
    pixels = padded([as_tensor(image) for image in images], levels[0].shape).to(device)
    cell_levels = torch.from_numpy(np.stack(levels)[:, None].astype(np.int64)).to(device)
    return analyse_padded(model, pixels, cell_levels, search=search)


def padded(images: Sequence[Tensor], cells: tuple[int, int]) -> Tensor:
    """Images, uint8 (3, H, W), as one batch of whole cells; an image's last row and column repeat
    beyond its edge.

    Returns:
        uint8 (N, 3, 64 rows, 64 columns), on the images' device, channels last.
    """
    shape = (len(images), 3, cells[0] * CELL, cells[1] * CELL)
    batch = torch.empty(
        shape, dtype=torch.uint8, device=images[0].device, memory_format=torch.channels_last
    )
    for whole, image in zip(batch, images):
        height, width = image.shape[1:]
        whole[:, :height, :width] = image
        whole[:, :height, width:] = image[:, :, -1:]
        whole[:, height:] = whole[:, height - 1 : height]
    return batch


def as_tensor(image: np.ndarray) -> Tensor:
    """An image, uint8 (H, W, 3), as (3, H, W). Only what torch cannot share is copied."""
    shared = image if image.flags.writeable else image.copy()
    return torch.from_numpy(np.ascontiguousarray(shared)).permute(2, 0, 1)


def on_host(found: SymbolTensors) -> list[HostSymbols]:
    """The images of a batch one by one, brought to the host."""
    levels = found.cell_levels[:, 0].to(torch.uint8).cpu().numpy()
    groups = [group.cpu().numpy() for group in found.groups]
    tables = [used.cpu().numpy() for used in found.tables]
    return [
        HostSymbols(levels[k], [group[k] for group in groups], [used[k] for used in tables])
        for k in range(len(levels))
    ]


def write(found: HostSymbols, size: tuple[int, int], level: int, fingerprint: bytes) -> bytes:
    """The .salc stream of an image of ``size`` (height, width) coded at base ``level``."""
    map_table, map_groups = map_group(found.levels, level)
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


def read(
    model: CompressionModel, opened: Sequence[tuple[Header, bytes]], shape: tuple[int, int]
) -> SymbolTensors:
    """What streams hold whose images have ``shape`` cells.

    Raises:
        CorruptError: A stream is damaged.
    """
    decoders = [GroupDecoder(payload) for _, payload in opened]
    levels = np.stack(
        [read_levels(decoder, header, shape) for decoder, (header, _) in zip(decoders, opened)]
    )
    on_host: list[np.ndarray] = []
    groups: list[Tensor] = []
    tables: list[Tensor] = []

    def code_group(group: GroupParameters) -> Tensor:
        tables.append(group.table.to(torch.uint8))
        symbols = np.stack(
            [
                decoder.decode(used.reshape(-1)).reshape(used.shape)
                for decoder, used in zip(decoders, tables[-1].cpu().numpy())
            ]
        )
        on_host.append(symbols)
        # Where words run out early, the header lies about its size, and more work is for nothing.
        if len(on_host) < NUM_COARSE_GROUPS + NUM_GROUPS:
            _check(not any(decoder.is_empty() for decoder in decoders))
        # Level 2 is checked before the memory of level 1 is taken, for the same reason.
        if len(on_host) == NUM_COARSE_GROUPS:
            for k, (header, _) in enumerate(opened):
                _check(symbol_checksum([g[k] for g in on_host], levels[k]) == header.coarse_crc)
        groups.append(torch.from_numpy(symbols).to(device))
        return groups[-1].to(group.mean) + group.mean

    with coding(model) as device:
        cell_levels = torch.from_numpy(levels[:, None].astype(np.int64)).to(device)
        latent, _ = model.prior.traverse(cell_levels, code_group)
    for k, (decoder, (header, _)) in enumerate(zip(decoders, opened)):
        fine = [group[k] for group in on_host[NUM_COARSE_GROUPS:]]
        _check(decoder.is_empty() and symbol_checksum(fine) == header.fine_crc)
    return SymbolTensors(groups, tables, latent, cell_levels)


def maps_of(
    model: CompressionModel, header: Header, payload: bytes, saliency: np.ndarray
) -> CodingMaps:
    """What a stream's encoder did where, given the saliency, (H, W) in [0, 1], that steered it."""
    shape = cells_of(header.height, header.width)
    found = read(model, [(header, payload)], shape)
    base = torch.tensor([header.level], device=found.cell_levels.device)
    bits = spatial_bits(found, base)[0].cpu().numpy()
    levels = found.cell_levels[0, 0].cpu().numpy()
    per_cell = CELL // PLACE
    seen = block_means(saliency, per_cell * shape[0], per_cell * shape[1], PLACE)
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
        coding(model) as device,
        torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision),
    ):
        image = model.synthesise(latents.float(), cell_levels, extent)
    return image.float().mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def synthesise(model: CompressionModel, latents: Tensor, cell_levels: Tensor) -> np.ndarray:
    """Padded images, uint8 (N, H, W, 3)."""
    return synthesise_padded(model, latents, cell_levels).permute(0, 2, 3, 1).cpu().numpy()
