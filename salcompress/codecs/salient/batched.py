"""The learned codec for batches of images that are tensors: compressed and reconstructed on the
codec's device.
"""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.container import check_size
from salcompress.bitstream.format import cells_of
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.bit_counter import stream_bits
from salcompress.codecs.salient.decoder import synthesise_padded
from salcompress.codecs.salient.encoder import analyse_padded, padded, write
from salcompress.codecs.salient.grouping import CELLS_AT_ONCE, by_shape, in_one_batch
from salcompress.codecs.salient.networks import default_device
from salcompress.codecs.salient.refine import cells_at_once as cells_at_once_in_search
from salcompress.codecs.salient.search_window import Search
from salcompress.codecs.salient.symbols import HostSymbols, SymbolTensors
from salcompress.errors import BitstreamError, DataError, SettingError
from salcompress.models.batch_extent import Extent
from salcompress.models.quality_map import allocate_levels_of_batch
from salcompress.saliency.batched import DeviceSaliency
from salcompress.saliency.functions import (
    SHIPPED_NETWORK,
    NetworkSaliency,
    network_saliency,
    uniform_saliency,
)

_CELLS_AT_ONCE_ON_CPU = 80
"""One COCO image: two at once leave the caches of a CPU, and the synthesis then takes a quarter
longer.
"""


class CompressedBatch:
    """Images that went through the codec; their rates may still be on their way.

    Attributes:
        images: uint8 (3, H, W), RGB, on the codec's device: what decoding gives, up to one grey
            level in rare places. On CUDA, valid on the stream that was current when the batch was
            started.
    """

    def __init__(
        self,
        images: list[Tensor],
        rates: Callable[[], list[int]],
        streams: list[concurrent.futures.Future],
    ):
        self.images, self._rates, self._streams = images, rates, streams

    def num_bits(self) -> list[int]:
        """Of each image, waiting until they are known: 8 x the length of its stream, or that length
        by the integer tables.
        """
        return self._rates()

    def streams(self) -> list[bytes]:
        """The .salc streams, where real ones were asked for; waits until they are written."""
        return [stream.result() for stream in self._streams]


class BatchedCodec:
    """Compresses batches of images of different sizes; each image comes out as if alone.

    On CUDA, where launching the networks' kernels takes longer than computing them, images of all
    sizes go through the networks in one padded batch; on the CPU those of one padded size do. On
    the CPU levels and streams equal those of ``codec.encode``. On CUDA the saliency network, too,
    runs there and in batches, which moves a level by one in rare cells, and what is real-valued
    rounds otherwise than on a CPU; streams decode everywhere in any case. Nothing waits for the
    device but the rates, other saliency functions than the network (they run on the host), and what
    is first used. A codec with an effort searches, on CUDA in smaller batches, on the CPU image by
    image; its saliency is then computed on the host.

    Args:
        codec: At its quality, saliency and device.
        real_streams: Write the streams, in ``pool``; else count their lengths by the integer
            tables, within 64 bits each.
        mixed_precision: Transforms in bfloat16: quicker on recent GPUs. Pixels then differ from
            those that decoding gives, by a grey level or two; the rate is that of the symbols from
            which they were made. The prior is exact in any case.
        pool: Writes streams; one thread of its own if None. More threads help little: the coder
            keeps Python's lock while it codes (measured with constriction 0.5), so they code while
            the networks run, and one after another.
        cells_at_once: 64x64 cells that go through the networks together, unless one image has more:
            bounds memory. As suits the device if None.
        mixed_sizes: Whether images of several padded sizes go together. As suits the device if
            None.
    """

    def __init__(
        self,
        codec: SalientCodec,
        *,
        real_streams: bool = False,
        mixed_precision: bool = False,
        pool: concurrent.futures.ThreadPoolExecutor | None = None,
        cells_at_once: int | None = None,
        mixed_sizes: bool | None = None,
    ):
        self.codec, self.real_streams, self.mixed_precision = codec, real_streams, mixed_precision
        self.device = torch.device(codec.device or default_device())
        self.cells_at_once = cells_at_once or (
            _CELLS_AT_ONCE_ON_CPU if self.device.type == "cpu" else CELLS_AT_ONCE
        )
        if codec.effort:
            self.cells_at_once = min(
                self.cells_at_once, cells_at_once_in_search(self.device.type, codec.effort)
            )
        self.mixed_sizes = self.device.type == "cuda" if mixed_sizes is None else mixed_sizes
        self._pool = pool or (
            concurrent.futures.ThreadPoolExecutor(1, "salcompress-coder") if real_streams else None
        )
        network = SHIPPED_NETWORK if codec.saliency is network_saliency else codec.saliency
        # A search weighs the errors by maps of the image's size. Beside it, the time of the network
        # on the host is little.
        self._saliency = None
        if self.device.type == "cuda" and isinstance(network, NetworkSaliency) and not codec.effort:
            self._saliency = DeviceSaliency(network.load(str(self.device)))

    def start(
        self,
        images: Sequence[Tensor],
        names: Sequence[str] | None = None,
        qualities: Sequence[float] | None = None,
    ) -> CompressedBatch:
        """Compress images, uint8 (3, H, W), RGB. They may lie on the host, best in pinned memory,
        or on the codec's device.

        Args:
            names: Of the images' files, for errors.
            qualities: Base quality of each image in [0, 1]; the codec's if None.

        Raises:
            SettingError: One is no image or too large, the saliency function's map does not fit, or
                there is not enough memory.
            DataError: In place of a SettingError about one image if it has a name.
        """
        named: list[str | None] = [None] * len(images) if names is None else list(names)
        codecs = (
            [self.codec] * len(images)
            if qualities is None
            else [self.codec.with_quality(quality) for quality in qualities]
        )
        for image, name in zip(images, named, strict=True):
            with refusal_named(name):
                _check(image)
        with enough_memory(self.device, images):
            return self._start(images, named, codecs)

    def _start(
        self, images: Sequence[Tensor], names: list[str | None], codecs: Sequence[SalientCodec]
    ) -> CompressedBatch:
        moved = [image.to(self.device, non_blocking=True) for image in images]
        levels, maps = self._steered(images, moved, names, codecs)
        decoded: dict[int, Tensor] = {}
        rates: list[tuple[list[int], Callable[[], list[Tensor]]]] = []
        written: dict[int, concurrent.futures.Future] = {}
        model = self.codec.model
        for members in (in_one_batch if self.mixed_sizes else by_shape)(
            [_cells(found) for found in levels], self.cells_at_once
        ):
            cell_levels, extent = self._together([levels[k] for k in members])
            pictures = padded([moved[k] for k in members], _size(cell_levels[0]))
            sizes = [_size(images[k]) for k in members]
            search = None
            if self.codec.effort:
                search = Search(
                    self.codec.effort, sizes, [maps[k] for k in members] if maps else None
                )
            found = analyse_padded(
                model, pictures, cell_levels, self.mixed_precision, extent, search
            )
            if self.real_streams:
                for k, stream in zip(
                    members, self._write(found, sizes, [codecs[k] for k in members])
                ):
                    written[k] = stream
            else:
                base = _to_device(
                    torch.tensor([codecs[k].base_level for k in members]), self.device
                )
                rates.append((members, _on_host([stream_bits(found, base)])))
            pixels = synthesise_padded(
                model, found.latent, found.cell_levels, self.mixed_precision, extent
            )
            for k, image, (height, width) in zip(members, pixels, sizes):
                decoded[k] = image[:, :height, :width].contiguous()
        pictures_in_order = [decoded[k] for k in range(len(images))]
        if self.real_streams:
            streams = [written[k] for k in range(len(images))]
            return CompressedBatch(
                pictures_in_order, lambda: [8 * len(stream.result()) for stream in streams], streams
            )

        def counted() -> list[int]:
            by_image = {
                k: bits
                for members, arrived in rates
                for k, bits in zip(members, arrived()[0].tolist())
            }
            return [by_image[k] for k in range(len(images))]

        return CompressedBatch(pictures_in_order, counted, [])

    def _steered(
        self,
        images: Sequence[Tensor],
        moved: Sequence[Tensor],
        names: list[str | None],
        codecs: Sequence[SalientCodec],
    ) -> tuple[list[Tensor], dict[int, np.ndarray]]:
        """Levels of each image, int64 (rows, columns) on the device; and for a search saliency, (H,
        W), unless it is uniform.
        """
        maps: dict[int, np.ndarray] = {}
        shapes = [cells_of(*image.shape[1:]) for image in images]
        cells: dict[int, Tensor] = {}
        if self.codec.saliency is uniform_saliency:
            cells = {
                k: torch.zeros(shape, dtype=torch.float64, device=self.device)
                for k, shape in enumerate(shapes)
            }
        elif self._saliency is not None:
            fitting = [k for k, image in enumerate(images) if self._saliency.fits(*image.shape[1:])]
            cells = dict(zip(fitting, self._saliency([moved[k] for k in fitting])))
        levels: dict[int, Tensor] = {}
        for members in by_shape(shapes):
            steered = [k for k in members if k in cells]
            if steered:
                quality = _to_device(
                    torch.tensor([codecs[k].quality for k in steered], dtype=torch.float64),
                    self.device,
                )
                allocated = allocate_levels_of_batch(
                    quality, torch.stack([cells[k] for k in steered]), self.codec.saliency_strength
                )
                for k, found in zip(steered, allocated):
                    levels[k] = found
        for k, image in enumerate(images):
            if k not in levels:
                with refusal_named(names[k]):
                    saliency = codecs[k].saliency_of(
                        np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
                    )
                found = codecs[k].levels_for(saliency)
                if self.codec.effort:
                    maps[k] = saliency
                levels[k] = _to_device(torch.from_numpy(found.astype(np.int64)), self.device)
        return [levels[k] for k in range(len(images))], maps

    def _together(self, levels: Sequence[Tensor]) -> tuple[Tensor, Extent | None]:
        """Levels of images as one batch (N, 1, rows, columns), and where the images are in it if
        they are of several shapes.
        """
        shapes = [_cells(found) for found in levels]
        if len(set(shapes)) == 1:
            return torch.stack(list(levels))[:, None], None
        rows, columns = (max(sides) for sides in zip(*shapes))
        # as floats, since integers cannot be padded so
        padded = [
            torch.nn.functional.pad(
                found[None].double(),
                (0, columns - found.shape[1], 0, rows - found.shape[0]),
                mode="replicate",
            )
            for found in levels
        ]
        sides = _to_device(torch.tensor(shapes), self.device)
        return torch.stack(padded).long(), Extent(sides[:, 0], sides[:, 1])

    def _write(
        self, found: SymbolTensors, sizes: Sequence[tuple[int, int]], codecs: Sequence[SalientCodec]
    ) -> list[concurrent.futures.Future]:
        """Streams of a group, by the pool."""
        count = len(found.groups)
        arrived = _on_host(
            [
                *(group.to(torch.int16) for group in found.groups),
                *found.tables,
                found.cell_levels[:, 0].to(torch.uint8),
            ]
        )

        def one(k: int) -> bytes:
            parts = [part.numpy() for part in arrived()]
            here = [part[k : k + 1] for part in _cut(parts, cells_of(*sizes[k]))]
            *symbols, levels = (part[0] for part in here)
            groups = [group.astype(np.int32) for group in symbols[:count]]
            image = HostSymbols(levels, groups, symbols[count:])
            return write(image, sizes[k], codecs[k].base_level, codecs[k].model_fingerprint)

        assert self._pool is not None  # it is made where real streams are asked for
        return [self._pool.submit(one, k) for k in range(len(sizes))]


@contextlib.contextmanager
def refusal_named(name: str | None) -> Iterator[None]:
    """Within, what a codec says of an image names the image's file, if it has one."""
    try:
        yield
    except (SettingError, BitstreamError) as error:
        if name is None:
            raise
        raise DataError(f"{name}: {error}") from error


@contextlib.contextmanager
def enough_memory(device: torch.device, images: Sequence[Tensor]) -> Iterator[None]:
    """Within, running out of memory is a SettingError that names the images' sizes, (3, H, W), and
    what helps.
    """
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and "DefaultCPUAllocator" not in str(error):
            raise
        sizes = ", ".join(f"{image.shape[2]}x{image.shape[1]}" for image in images)
        raise SettingError(
            f"not enough memory on {device} to compress images of {sizes}: take fewer images at "
            "a time or smaller ones, "
            "prefetch fewer batches, or compress on the CPU with device=cpu"
        ) from error


def _check(image: Tensor) -> None:
    if (
        not isinstance(image, Tensor)
        or image.dtype != torch.uint8
        or image.dim() != 3
        or image.shape[0] != 3
        or image.numel() == 0
    ):
        came = (
            f"{image.dtype} {tuple(image.shape)}"
            if isinstance(image, Tensor)
            else type(image).__name__
        )
        raise SettingError(
            f"image must be a uint8 tensor (3, H, W) with at least one pixel, got {came}"
        )
    check_size(*image.shape[1:])


def _cut(parts: Sequence[np.ndarray], cells: tuple[int, int]) -> list[np.ndarray]:
    """Groups and tables (N, C', h', w') and levels (N, rows, columns) of a batch, cut to what an
    image of so many cells has of them.
    """
    *symbols, levels = parts
    cut = []
    for part in symbols:
        fine = (
            part.shape[2] > levels.shape[1]
        )  # level 1 has two positions a cell, level 2 one for two cells
        height, width = (2 * side if fine else (side + 1) // 2 for side in cells)
        cut.append(part[:, :, :height, :width])
    return [*cut, levels[:, : cells[0], : cells[1]]]


def _size(image: Tensor) -> tuple[int, int]:
    """Height and width of (C, H, W)."""
    return image.shape[1], image.shape[2]


def _cells(levels: Tensor) -> tuple[int, int]:
    """Rows and columns of levels."""
    return levels.shape[0], levels.shape[1]


def _to_device(values: Tensor, device: torch.device) -> Tensor:
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def _on_host(values: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Begin to bring tensors to the host; a call of what is returned waits for them."""
    if values[0].device.type != "cuda":
        return lambda: list(values)
    arriving = [
        torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value, non_blocking=True)
        for value in values
    ]
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(values[0].device))

    def wait() -> list[Tensor]:
        arrived.synchronize()
        return arriving

    return wait
