"""Data sets compressed by all machines of a Ray cluster, a shard a task."""

from collections.abc import Callable
from typing import Any

import ray.data

from salcompress.codecs.base import Codec
from salcompress.codecs.compress import (
    IMAGES_PER_SHARD,
    Sources,
    begin,
    compress_shard,
    missing_shards,
)
from salcompress.codecs.salient import SalientCodec
from salcompress.data.storage import Storage
from salcompress.data.stored import Manifest, complete
from salcompress.distributed.cluster import outcome, pool, rows_of
from salcompress.errors import SettingError


class _ShardEncoder:
    """An actor that encodes the images of a shard and writes it."""

    def __init__(self, sources: Sources, codec: Codec, out: Storage, manifest: Manifest):
        import cv2
        import torch

        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        self._work = sources, codec, out, manifest

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return outcome(lambda: self._encode(row))

    def _encode(self, row: dict[str, Any]) -> dict[str, Any]:
        sources, codec, out, manifest = self._work
        if codec.fingerprint != manifest.fingerprint:
            raise SettingError(
                f"a node of the cluster has another version of {manifest.codec}: fingerprint "
                f"{codec.fingerprint} there, {manifest.fingerprint} here; install one version "
                "everywhere"
            )
        names = list(row["names"])
        problems = {n: p for n, p in zip(names, row["problems"]) if p is not None}
        part = sources._replace(file_names=names, problems=problems)
        return {"num_images": compress_shard(part, codec, out, manifest, int(row["shard"]))}


def compress_on_ray(
    sources: Sources,
    codec: Codec,
    out: Storage,
    images_per_shard: int = IMAGES_PER_SHARD,
    on_image: Callable[[int], None] = lambda num_done: None,
) -> Manifest:
    """As :func:`salcompress.codecs.compress.compress_images`, within
    :func:`salcompress.distributed.cluster.cluster`.

    Each actor reads and writes by itself, so every node must reach the images and ``out``: by a
    folder that all of them mount, or by an address. No stream passes through this process. A task
    whose actor or node dies is done by another.

    Args:
        images_per_shard: A task has as many images, so the cluster is idle where there are fewer
            shards than actors.

    Returns:
        The manifest. Shards are those of one process, byte for byte.

    Raises:
        SettingError, DataError, OutputError: As there.
    """
    manifest = begin(sources, codec, out, images_per_shard)
    missing = missing_shards(out, manifest)
    num_done = manifest.num_images - sum(len(manifest.numbers(n)) for n in missing)
    on_image(num_done)
    if manifest.is_complete:
        return manifest
    if missing:
        rows = []
        for number in missing:
            names = [sources.file_names[k] for k in manifest.numbers(number)]
            problems = [sources.problems.get(name) for name in names]
            rows.append({"shard": number, "names": names, "problems": problems})
        actors = pool(isinstance(codec, SalientCodec) and codec.device != "cpu")
        shards = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _ShardEncoder,
            fn_constructor_args=(
                sources._replace(file_names=(), problems={}),
                codec,
                out,
                manifest,
            ),
            compute=ray.data.ActorPoolStrategy(size=min(actors.size, len(rows))),
            num_cpus=actors.num_cpus,
            num_gpus=actors.num_gpus,
        )
        with rows_of(shards) as done:
            for row in done:
                num_done += row["num_images"]
                on_image(num_done)
    return complete(out, manifest)
