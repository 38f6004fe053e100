"""How long each part of coding takes."""

import time

import numpy as np
from torch import Tensor

from salcompress.bitstream.container import read_stream, symbol_checksum
from salcompress.bitstream.entropy_coder import GroupDecoder
from salcompress.codecs.salient.coder import (
    analyse,
    as_tensor,
    coding,
    on_host,
    padded,
    synthesise,
    write,
)
from salcompress.codecs.salient.level_map import read_levels
from salcompress.codecs.salient.refine import Search, refine
from salcompress.models.compression_model import CompressionModel


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
    found = analyse(model, [image], [levels])
    (symbols,) = on_host(found)
    stream = write(symbols, image.shape[:2], level, fingerprint)
    device = found.latent.device

    def pixels() -> Tensor:
        return padded([as_tensor(image)], levels.shape).to(device)

    def analysis() -> None:
        model.analyse(pixels().float().div_(255), found.cell_levels)[1].cpu()

    def prior() -> None:
        values = iter(found.groups)
        model.prior.traverse(found.cell_levels, lambda group: next(values) + group.mean)[0].cpu()

    def decoding() -> None:
        header, payload = read_stream(stream, fingerprint)
        decoder = GroupDecoder(payload)
        read_levels(decoder, header, levels.shape)
        symbol_checksum([decoder.decode(tables.reshape(-1)) for tables in symbols.tables])

    parts = {
        "analysis": analysis,
        "prior": prior,
        "coding": lambda: write(symbols, image.shape[:2], level, fingerprint),
        "decoding": decoding,
        "synthesis": lambda: synthesise(model, found.latent, found.cell_levels),
    }
    if search is not None:

        def searching() -> None:
            latents = model.analyse(pixels().float().div_(255), found.cell_levels)
            refine(model, pixels(), found.cell_levels, *latents, search)[0].cpu()

        parts["search"] = searching
    seconds = {}
    with coding(model):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            seconds[name] = time.perf_counter() - started
    return seconds
