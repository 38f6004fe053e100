"""The learned codec for batches of images that are tensors, on the codec's device."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from salcompress.bitstream.container import read_stream
from salcompress.bitstream.format import cells_of
from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.batch_steering import BatchMember, BatchSteering, network_on
from salcompress.codecs.salient.bit_counter import stream_bits
from salcompress.codecs.salient.captured import Buffers, Captured, Results
from salcompress.codecs.salient.decoder import decoded_together, read, synthesise_padded
from salcompress.codecs.salient.encoder import analyse_padded, empty_batch, pad_into, write
from salcompress.codecs.salient.grouping import (
    BUCKETS,
    CELLS_AT_ONCE,
    at_most,
    bucket,
    by_shape,
    in_one_batch,
)
from salcompress.codecs.salient.networks import default_device
from salcompress.codecs.salient.refine import cells_at_once as cells_at_once_in_search
from salcompress.codecs.salient.refusals import check_image_tensor, enough_memory, refusal_named
from salcompress.codecs.salient.search_window import Search
from salcompress.codecs.salient.symbols import HostSymbols
from salcompress.codecs.salient.transfer import on_its_way, to_host

_CELLS_AT_ONCE_ON_CPU = 80
"""Cells of one COCO image: two at once leave the caches of a CPU, and the synthesis then takes a
quarter longer.
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
        self.steering = BatchSteering(codec, self.device, network_on(codec, self.device))
        self.captured: Captured[_Kind] = Captured(self._through_networks, self.device)
        """Runs the networks: by CUDA graphs where it captures."""

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
        members = [
            BatchMember(
                image,
                self.codec if qualities is None else self.codec.with_quality(qualities[k]),
                None if names is None else names[k],
            )
            for k, image in enumerate(images)
        ]
        for member in members:
            with refusal_named(member.name):
                check_image_tensor(member.image)
        with enough_memory(self.device, images):
            return self._start(members)

    def decode(self, streams: Sequence[bytes], names: Sequence[str] | None = None) -> list[Tensor]:
        """The images of streams, uint8 (3, H, W), RGB, on the codec's device.

        Images of one padded size go through the networks together, and streams may be of several
        weights. Nothing is brought to the host but what the entropy decoder needs there, which is a
        table for each symbol.

        Args:
            names: Of the streams' files, for errors.

        Raises:
            BitstreamError: A stream is truncated or damaged, or of weights that are not at hand.
            DataError: In place of a BitstreamError about one stream if it has a name.
        """
        opened = []
        for k, stream in enumerate(streams):
            with refusal_named(None if names is None else names[k]):
                opened.append(read_stream(stream))
                self.codec.decoder_of(opened[-1][0].fingerprint)
        images: dict[int, Tensor] = {}
        for group in decoded_together([header for header, _ in opened], self.cells_at_once):
            first = opened[group[0]][0]
            model = self.codec.decoder_of(first.fingerprint).model
            shape = cells_of(first.height, first.width)
            symbols = read(model, [opened[k] for k in group], shape)
            pixels = synthesise_padded(
                model, symbols.latent, symbols.cell_levels, self.mixed_precision
            )
            for k, image in zip(group, pixels):
                height, width = opened[k][0].height, opened[k][0].width
                images[k] = image[:, :height, :width].contiguous()
        return [images[k] for k in range(len(streams))]

    def _start(self, members: Sequence[BatchMember]) -> CompressedBatch:
        """Compress images, as many at once as ``cells_at_once`` allows."""
        cells = [member.cells for member in members]
        images: dict[int, Tensor] = {}
        streams: dict[int, concurrent.futures.Future] = {}
        counts: list[tuple[list[int], Callable[[], list[Tensor]]]] = []
        groups = (in_one_batch if self.mixed_sizes else by_shape)(cells, self.cells_at_once)
        if self.captured.captures:
            groups = at_most(groups, BUCKETS[-1])
        for group in groups:
            together = [members[k] for k in group]
            with self._passed(together) as (pixels, *others):
                if self.real_streams:
                    streams.update(zip(group, self._write(others, together)))
                else:
                    counts.append((group, to_host(others)))
                images.update(zip(group, _cropped(pixels, together)))
        in_order = [images[k] for k in range(len(members))]
        if not self.real_streams:
            return CompressedBatch(in_order, lambda: _in_order(counts), [])
        writing = [streams[k] for k in range(len(members))]
        return CompressedBatch(
            in_order, lambda: [8 * len(stream.result()) for stream in writing], writing
        )

    @contextlib.contextmanager
    def _passed(self, members: Sequence[BatchMember]) -> Iterator[Results]:
        """Within, what came of images that go through the networks together stands on the device:
        see :meth:`_through_networks`.
        """
        rows, columns = (max(sides) for sides in zip(*(member.cells for member in members)))
        # images that only fill a batch up are as the last one, of which nobody looks at the copy
        filled = list(members)
        if self.captured.captures and not self.codec.effort:
            filled += [members[-1]] * (bucket(len(members)) - len(members))
        steered = self.steering.on_host(filled, (rows, columns))
        values = steered.values | {
            "base": torch.tensor([member.codec.base_level for member in filled])
        }

        def allocate() -> Buffers:
            made = {name: torch.empty_like(v, device=self.device) for name, v in values.items()}
            return made | {"images": empty_batch(len(filled), (rows, columns), self.device)}

        def fill(buffers: Buffers) -> None:
            for name, value in values.items():
                buffers[name].copy_(on_its_way(value, self.device), non_blocking=True)
            moved = [member.image.to(self.device, non_blocking=True) for member in members]
            pad_into(buffers["images"], moved)

        shapes = tuple((name, tuple(value.shape)) for name, value in values.items())
        key = _Kind((len(filled), rows, columns), steered.seen, shapes)
        if self.codec.effort:
            buffers = allocate()
            fill(buffers)
            search = Search(self.codec.effort, [member.size for member in members], steered.maps)
            yield self._through_networks(key, buffers, search)
            return
        with self.captured(key, allocate, fill) as results:
            yield results

    def _through_networks(
        self, kind: "_Kind", buffers: Buffers, search: Search | None = None
    ) -> Results:
        """The whole way of a batch on the device, which without a search waits for nothing there
        and asks nothing of the host.

        Returns:
            Pixels that decoding gives, uint8 (N, 3, 64 rows, 64 columns). Where bits are counted,
            they follow, int64 (N,); else the groups, int16, the tables of each, uint8, and the
            levels of the cells, uint8 (N, rows, columns).
        """
        levels, extent = self.steering.levels(buffers["images"], buffers, kind.seen)
        model, mixed = self.codec.model, self.mixed_precision
        symbols = analyse_padded(model, buffers["images"], levels, mixed, extent, search)
        pixels = synthesise_padded(model, symbols.latent, levels, mixed, extent)
        if not self.real_streams:
            return pixels, stream_bits(symbols, buffers["base"])
        groups = (group.to(torch.int16) for group in symbols.groups)
        return pixels, *groups, *symbols.tables, levels[:, 0].to(torch.uint8)

    def _write(
        self, symbols: Sequence[Tensor], members: Sequence[BatchMember]
    ) -> list[concurrent.futures.Future]:
        """Have the pool write the images' streams.

        Args:
            symbols: Groups, tables and levels of :meth:`_through_networks`.
        """
        count, arrived = len(symbols) // 2, to_host(symbols)

        def one(k: int) -> bytes:
            codec, size = members[k].codec, members[k].size
            parts = _cut([part.numpy()[k] for part in arrived()], members[k].cells)
            image = HostSymbols(parts[-1], parts[:count], parts[count:-1])
            return write(image, size, codec.base_level, codec.model_fingerprint)

        assert self._pool is not None  # it is made where real streams are asked for
        return [self._pool.submit(one, k) for k in range(len(members))]


class _Kind(NamedTuple):
    """What is the same of all batches that one CUDA graph serves."""

    shape: tuple[int, int, int]
    """Images, and rows and columns of cells."""
    seen: tuple[int, int] | None
    """As of HostSteering."""
    values: tuple[tuple[str, tuple[int, ...]], ...]
    """Names and shapes of what is known of the images."""


def _cropped(pixels: Tensor, members: Sequence[BatchMember]) -> list[Tensor]:
    """Copies of the images without their padding, uint8 (3, H, W)."""
    sizes = (member.size for member in members)
    return [
        image[:, :height, :width].clone(memory_format=torch.contiguous_format)
        for image, (height, width) in zip(pixels, sizes)
    ]


def _in_order(counts: Sequence[tuple[list[int], Callable[[], list[Tensor]]]]) -> list[int]:
    """Bits of the images in their order, waiting for them.

    Args:
        counts: Numbers of images, and what gives their bits.
    """
    bits: dict[int, int] = {}
    for group, arrived in counts:
        bits.update(zip(group, arrived()[0].tolist()))
    return [bits[k] for k in range(len(bits))]


def _cut(parts: Sequence[np.ndarray], cells: tuple[int, int]) -> list[np.ndarray]:
    """Groups and tables (C', h', w') and levels (rows, columns) of an image in a batch, cut to what
    an image of so many cells has of them.
    """
    *symbols, levels = parts
    cut = []
    for part in symbols:
        # level 1 has two positions a cell, level 2 one for two cells
        is_fine = part.shape[1] > levels.shape[0]
        height, width = (2 * side if is_fine else (side + 1) // 2 for side in cells)
        cut.append(part[:, :height, :width])
    return [*cut, levels[: cells[0], : cells[1]]]
