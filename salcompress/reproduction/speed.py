"""How long each codec takes on this machine, as ``salcompress bench codecs``."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salcompress.bench.codecs import CodecTimes, time_codecs
from salcompress.codecs import load_codecs
from salcompress.files import digest
from salcompress.image import read_image
from salcompress.process import cpu_name
from salcompress.reporting.tables import markdown_table
from salcompress.reproduction.part import Figures, Item, Part, Settings
from salcompress.reproduction.sources import content_of, kodak, learned_weights, with_weights

_TYPICAL = (
    "jpeg:q=30",
    "jpegli:q=40",
    "jpeg2000:bpp=0.5",
    "webp:q=30",
    "avif:q=30",
    "jxl:q=50",
    "hevc:q=32",
    "vvc:q=38",
)
_LEARNED = ("salient:saliency=uniform,q=0.4", "salient:q=0.4")
_REPEAT = 5


def _specs() -> list[str]:
    return [*_TYPICAL, *(with_weights(spec, w) for w in learned_weights() for spec in _LEARNED)]


def _items(settings: Settings) -> list[Item]:
    path = kodak(settings.data)[0]
    codecs = load_codecs(*_specs())
    of = {
        "picture": content_of(path),
        "codecs": digest(*(codec.fingerprint for codec in codecs))[:16],
        "machine": f"{cpu_name()}, {os.cpu_count()} cores, {_num_threads()} threads",
        "weights": ", ".join(learned_weights().values()),
    }
    return [Item(path.name, of, functools.partial(_measure, path, of["machine"]))]


def _num_threads() -> int:
    import torch

    return torch.get_num_threads()


def _measure(path: Path, machine: str) -> dict[str, Any]:
    image = read_image(path)
    before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    times = time_codecs(load_codecs(*_specs()), image, _REPEAT)
    return {
        "machine": machine,
        "busy": None if before is None else round(before, 1),
        "size": f"{image.shape[1]}x{image.shape[0]}",
        "times": [found._asdict() for found in times],
    }


def _tables(settings: Settings, figures: Figures) -> Mapping[str, str]:
    ((name, figure),) = figures.items()
    times = [CodecTimes(**found) for found in figure["times"]]
    lines = [
        [
            found.label,
            f"{found.bpp:.3f}",
            f"{1e3 * found.encode_s:.0f} / {1e3 * found.decode_s:.0f}",
            ", ".join(f"{part} {1e3 * seconds:.0f}" for part, seconds in found.parts.items()),
        ]
        for found in times
    ]
    heads = ["codec", "bpp", "encode / decode ms", "of it the networks' parts, ms"]
    busy = "" if figure["busy"] is None else f", load {figure['busy']} before"
    about = f"{name}, {figure['size']}, median of {_REPEAT}; {figure['machine']}{busy}."
    return {"speed": f"{markdown_table(heads, lines)}\n\n{about}"}


SPEED = Part("speed", "encoding and decoding of one picture", _items, _tables, guess_s=60)
