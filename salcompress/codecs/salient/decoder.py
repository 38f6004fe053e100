"""The decoder: streams to symbols to images.

:func:`decode_streams` is the whole of it.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.container import Header, read_stream, symbol_checksum
from salcompress.bitstream.entropy_coder import GroupDecoder
from salcompress.bitstream.format import CELL, NUM_LEVELS, cells_of
from salcompress.codecs.base import CodingMaps
from salcompress.codecs.salient.bit_counter import spatial_bits
from salcompress.codecs.salient.grouping import CELLS_AT_ONCE, by_shape
from salcompress.codecs.salient.level_map import read_levels
from salcompress.codecs.salient.networks import coding, rounded_to_bfloat16
from salcompress.codecs.salient.symbols import SymbolTensors
from salcompress.errors import CorruptError
from salcompress.image import PLACE
from salcompress.models.batch_extent import Extent
from salcompress.models.compression_model import CompressionModel
from salcompress.models.groups import NUM_COARSE_GROUPS, NUM_GROUPS, GroupParameters
from salcompress.models.quality_map import block_means


def decode_streams(
    model_of: Callable[[bytes], CompressionModel], streams: Sequence[bytes]
) -> list[np.ndarray]:
    """The image of each stream, uint8 (H, W, 3), as if it had been alone.

    Args:
        model_of: The networks by the fingerprint that a stream has.
        streams: They may be of several networks.

    Raises:
        BitstreamError: One is truncated or damaged, or ``model_of`` raises it.
    """
    opened = [read_stream(stream) for stream in streams]
    images: dict[int, np.ndarray] = {}
    for members in decoded_together([header for header, _ in opened]):
        first = opened[members[0]][0]
        model, shape = model_of(first.fingerprint), cells_of(first.height, first.width)
        symbols = read(model, [opened[k] for k in members], shape)
        pixels = synthesise(model, symbols.latent, symbols.cell_levels)
        for k, image in zip(members, pixels):
            height, width = opened[k][0].height, opened[k][0].width
            images[k] = np.ascontiguousarray(image[:height, :width])
    return [images[k] for k in range(len(streams))]


def decoded_together(
    headers: Sequence[Header], cells_at_once: int = CELLS_AT_ONCE
) -> Iterator[list[int]]:
    """Numbers of streams that go through the networks together: of the same networks, and of one
    shape in cells.
    """
    made_by: dict[bytes, list[int]] = {}
    for k, header in enumerate(headers):
        made_by.setdefault(header.fingerprint, []).append(k)
    for members in made_by.values():
        shapes = [cells_of(headers[k].height, headers[k].width) for k in members]
        for group in by_shape(shapes, cells_at_once):
            yield [members[k] for k in group]


def read(
    model: CompressionModel, opened: Sequence[tuple[Header, bytes]], shape: tuple[int, int]
) -> SymbolTensors:
    """What streams hold.

    Args:
        opened: The header and the payload of each.
        shape: Rows and columns of cells, of all the images.

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
    symbols = read(model, [(header, payload)], shape)
    base = torch.tensor([header.level], device=symbols.cell_levels.device)
    bits = spatial_bits(symbols, base)[0].cpu().numpy()
    levels = symbols.cell_levels[0, 0].cpu().numpy()
    per_cell = CELL // PLACE
    seen = block_means(saliency, per_cell * shape[0], per_cell * shape[1], PLACE)
    quality = np.kron(levels / (NUM_LEVELS - 1), np.ones((per_cell, per_cell)))
    return CodingMaps(seen.astype(np.float32), quality.astype(np.float32), bits.astype(np.float32))


def _check(right: bool) -> None:
    if not right:
        raise CorruptError(
            "the decoded symbols do not match their checksum: the stream is damaged, or this "
            "machine computes other tables than the one that encoded it"
        )


def synthesise_padded(
    model: CompressionModel,
    latents: Tensor,
    cell_levels: Tensor,
    mixed_precision: bool = False,
    extent: Extent | None = None,
) -> Tensor:
    """Padded images, uint8 (N, 3, H, W), on the networks' device.

    Args:
        latents: As the decoder sees them, (N, C, h, w).
        cell_levels: Integer (N, 1, rows, columns).
        mixed_precision: Compute in bfloat16.
        extent: Where the images are, if they are of several numbers of cells.
    """
    with (
        coding(model) as device,
        rounded_to_bfloat16(device, mixed_precision),
    ):
        image = model.synthesise(latents.float(), cell_levels, extent)
    return image.float().mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def synthesise(model: CompressionModel, latents: Tensor, cell_levels: Tensor) -> np.ndarray:
    """Padded images, uint8 (N, H, W, 3)."""
    return synthesise_padded(model, latents, cell_levels).permute(0, 2, 3, 1).cpu().numpy()
