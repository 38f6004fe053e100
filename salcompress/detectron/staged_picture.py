"""One picture on its way through the stage behind the loader."""

import concurrent.futures
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from salcompress.codecs import Codec, SalientCodec
from salcompress.codecs.salient.batched import CompressedBatch, refusal_named
from salcompress.detectron.image_format import check_same_format
from salcompress.errors import SettingError
from salcompress.evaluation.round_trip import CodedImage, code

STAGE_KEYS = ("transforms", "source_bits", "codec_index")
"""Keys that OriginalImageMapper gives to the stage, and that go no further."""


class Coding(Protocol):
    """What became of a picture, or will."""

    @property
    def is_ready(self) -> bool:
        """Whether the pixels are there, or queued on the device: no thread is to be waited for."""

    def pixels(self) -> Tensor:
        """uint8 (3, H, W), RGB, of the original's size."""

    def num_bits(self) -> int:
        """Of the whole stream; waits until it is known."""

    def coded_image(self) -> CodedImage:
        """The picture with its rate and its times, on the host."""


class FromFile(NamedTuple):
    """The picture is as it was read, and its rate is that of the file."""

    original: Tensor
    source_bits: int
    is_ready: bool = True

    def pixels(self) -> Tensor:
        return self.original

    def num_bits(self) -> int:
        return self.source_bits

    def coded_image(self) -> CodedImage:
        return CodedImage(as_array(self.original), self.source_bits, None, None)


class InBatch(NamedTuple):
    """The learned codec has the picture in a batch."""

    batch: CompressedBatch
    position: int
    is_ready: bool = True

    def pixels(self) -> Tensor:
        return self.batch.images[self.position]

    def num_bits(self) -> int:
        return self.batch.num_bits()[self.position]

    def coded_image(self) -> CodedImage:
        return CodedImage(as_array(self.pixels()), self.num_bits(), None, None)


class OnHost(NamedTuple):
    """A codec of single pictures has it, perhaps in a thread."""

    coded: "concurrent.futures.Future[CodedImage]"
    is_ready: bool

    def pixels(self) -> Tensor:
        return torch.from_numpy(
            np.ascontiguousarray(self.coded.result().decoded.transpose(2, 0, 1))
        )

    def num_bits(self) -> int:
        return self.coded.result().num_bits

    def coded_image(self) -> CodedImage:
        return self.coded.result()


@dataclasses.dataclass
class StagedPicture:
    """A picture, what became of it, and what the detector gets.

    Attributes:
        entry: The mapper's dict.
        original: uint8 (3, H, W), RGB, on the host, or where a stored stream was decoded.
        coding: What became of it so far.
        image: What the detector gets, in Detectron2's format; None until it was transformed.
    """

    entry: dict[str, Any]
    original: Tensor
    coding: Coding
    image: Tensor | None = None

    @property
    def name(self) -> str | None:
        """The picture's file, for errors."""
        return self.entry.get("file_name")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the original."""
        return self.original.shape[1], self.original.shape[2]


def stage_picture(
    entry: dict[str, Any], image_format: str, num_random_codecs: int, pinned: bool
) -> StagedPicture:
    """A picture of a mapper's dict, not yet compressed.

    Args:
        pinned: Whether it is to lie in memory that a GPU can copy from at once.

    Raises:
        SettingError: The dict is not of an OriginalImageMapper of this format and as many random
            codecs.
    """
    missing = [key for key in ("image", *STAGE_KEYS) if key not in entry]
    if missing:
        raise SettingError(
            "CompressedLoader needs pictures mapped by OriginalImageMapper, with the keys "
            f"image, {', '.join(STAGE_KEYS)}; {', '.join(missing)} is missing"
        )
    check_same_format(image_format, entry.get("image_format"), "OriginalImageMapper")
    if not 0 <= entry["codec_index"] <= num_random_codecs:
        raise SettingError(
            f"a picture drew random codec {entry['codec_index']}, and the stage has "
            f"{num_random_codecs}: give CompressedLoader the settings of the mapper's "
            "random_compression"
        )
    image = entry["image"]
    rgb = image.flip(0) if image_format == "BGR" else image
    original = rgb
    if rgb.device.type == "cpu":
        original = torch.empty(rgb.shape, dtype=rgb.dtype, pin_memory=pinned).copy_(rgb)
    return StagedPicture(entry, original, FromFile(original, entry["source_bits"]))


def by_drawn_codec(
    pictures: Sequence[StagedPicture], random_codecs: Sequence[Codec]
) -> Iterable[tuple[list[Codec], list[StagedPicture]]]:
    """Pictures that drew a codec, with what each drew, in groups that go through it together."""
    groups: dict[Any, tuple[list[Codec], list[StagedPicture]]] = {}
    for picture in pictures:
        if picture.entry["codec_index"]:
            codec = random_codecs[picture.entry["codec_index"] - 1]
            codecs, members = groups.setdefault(family_of(codec), ([], []))
            codecs.append(codec)
            members.append(picture)
    return groups.values()


def family_of(codec: Codec) -> Any:
    """The same of settings of one learned codec that differ in quality alone: they go through the
    networks together.
    """
    if isinstance(codec, SalientCodec):
        return codec.device, codec.with_quality(0).fingerprint
    return id(codec)


def code_on_host(
    codec: Codec, picture: StagedPicture, pool: concurrent.futures.Executor | None
) -> OnHost:
    """Send a picture through a codec of single pictures, after what it went through before.

    Args:
        pool: Threads that code; without, it is done here and now.
    """
    before, name = picture.coding, picture.name
    # what lies on a device is fetched here, where its stream is the current one
    ready = as_array(before.pixels()) if before.is_ready else None

    def work() -> CodedImage:
        with refusal_named(name):
            return code(codec, as_array(before.pixels()) if ready is None else ready)

    if pool is not None:
        return OnHost(pool.submit(work), is_ready=False)
    done: concurrent.futures.Future[CodedImage] = concurrent.futures.Future()
    done.set_result(work())
    return OnHost(done, is_ready=True)


def as_array(image: Tensor) -> np.ndarray:
    """(3, H, W) to (H, W, 3), on the host."""
    return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
