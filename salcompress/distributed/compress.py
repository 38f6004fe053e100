"""Data sets compressed by all machines of a Ray cluster, a shard a task."""

import os
from collections.abc import Callable
from typing import Any

import ray.data

from salcompress.codecs.base import Codec
from salcompress.codecs.compress import IMAGES_PER_SHARD, Plan, compress_shard, held
from salcompress.codecs.salient import SalientCodec
from salcompress.data.sources import Sources
from salcompress.data.storage import Storage
from salcompress.data.stored import Manifest, complete
from salcompress.distributed.cluster import outcome, pool, rows_of, work_as_in
from salcompress.errors import SettingError


class _ShardEncoder:
    """An actor that encodes the images of a shard and writes it."""

    def __init__(self, images: Storage, codec: Codec, out: Storage, fingerprint: str, folder: str):
        work_as_in(folder)
        self._images, self._codec, self._out = images, codec, out
        self._fingerprint = fingerprint

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return outcome(lambda: self._encode(row))

    def _encode(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._codec.fingerprint != self._fingerprint:
            raise SettingError(
                f"a node of the cluster has another version of {self._codec.label}: fingerprint "
                f"{self._codec.fingerprint} there, {self._fingerprint} here; install one version "
                "everywhere"
            )
        names = list(row["names"])
        problems = {n: p for n, p in zip(names, row["problems"]) if p is not None}
        part, number = Sources(self._images, names, problems), int(row["shard"])
        done = compress_shard(part, self._codec, self._out, number, int(row["first"]))
        return {"num_images": done}


def compress_on_ray(
    sources: Sources,
    codec: Codec,
    out: Storage,
    images_per_shard: int = IMAGES_PER_SHARD,
    *,
    retry_skipped: bool = False,
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
    with held(out):
        plan = Plan(sources, codec, out, images_per_shard, retry_skipped)
        rows: list[dict[str, Any]] = []
        for number in plan.missing:
            names = plan.names(number)
            problems = [sources.problems.get(name) for name in names]
            first = plan.manifest.numbers(number).start
            row: dict[str, Any] = {
                "shard": number,
                "first": first,
                "names": names,
                "problems": problems,
            }
            rows.append(row)
        num_done = plan.manifest.num_images - sum(len(row["names"]) for row in rows)
        on_image(num_done)
        if rows:
            actors = pool(isinstance(codec, SalientCodec) and codec.device != "cpu")
            shards = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _ShardEncoder,
                fn_constructor_args=(
                    sources.images,
                    codec,
                    out,
                    codec.fingerprint,
                    os.getcwd(),
                ),
                compute=ray.data.ActorPoolStrategy(size=min(actors.size, len(rows))),
                num_cpus=actors.num_cpus,
                num_gpus=actors.num_gpus,
            )
            with rows_of(shards) as done:
                for finished in done:
                    num_done += finished["num_images"]
                    on_image(num_done)
        return complete(out, plan.manifest)
