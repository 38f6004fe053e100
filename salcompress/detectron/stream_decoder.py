"""Streams of stored data sets, decoded in batches behind the loader."""

from typing import Any, cast

import torch

from salcompress.codecs.salient import SalientCodec
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.detectron.stored_dataset import stored_images


class StreamDecoder:
    """Decodes what an OriginalImageMapper with ``leaves_streams`` left.

    Args:
        device: Where it decodes, and where the pictures then lie.
        image_format: "BGR" or "RGB", how their channels shall lie.
        mixed_precision: Whether the codec's synthesis computes in bfloat16.
    """

    def __init__(self, device: torch.device, image_format: str, mixed_precision: bool):
        self._device, self._image_format = device, image_format
        self._mixed_precision = mixed_precision
        self._codecs: dict[str, BatchedCodec] = {}

    def decoded(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same dicts with an ``image``, uint8 (3, H, W), in place of a ``stream``.

        Raises:
            DataError: A stream is damaged; the message names its picture.
        """
        entries = [dict(entry) for entry in entries]
        groups: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            if "stream" in entry:
                groups.setdefault(entry.pop("stored_in"), []).append(entry)
        for location, members in groups.items():
            streams = [entry.pop("stream") for entry in members]
            names = [entry["file_name"] for entry in members]
            pictures = self._codec(location).decode(streams, names)
            for entry, rgb in zip(members, pictures, strict=True):
                entry["image"] = rgb.flip(0) if self._image_format == "BGR" else rgb
        return entries

    def _codec(self, location: str) -> BatchedCodec:
        if location not in self._codecs:
            codec = cast(SalientCodec, stored_images(location, str(self._device)).codec)
            self._codecs[location] = BatchedCodec(codec, mixed_precision=self._mixed_precision)
        return self._codecs[location]
