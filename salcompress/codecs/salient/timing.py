"""How long each part of coding takes."""

import time
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from salcompress.bitstream.container import read_stream, symbol_checksum
from salcompress.bitstream.entropy_coder import GroupDecoder
from salcompress.codecs.salient.decoder import synthesise
from salcompress.codecs.salient.encoder import analyse, as_tensor, on_host, padded, write
from salcompress.codecs.salient.level_map import read_levels
from salcompress.codecs.salient.networks import coding
from salcompress.codecs.salient.refine import refine
from salcompress.codecs.salient.search_window import Search

if TYPE_CHECKING:
    from salcompress.codecs.salient.codec import SalientCodec


def time_parts(codec: "SalientCodec", image: np.ndarray) -> dict[str, float]:
    """Seconds of each part of one encoding and decoding of an image.

    The parts are the analysis (the float networks of the encoder), the search if there is one, the
    prior (once: it runs in both), the coding of the symbols each way, and the synthesis.
    """
    model, levels, size = codec.model, codec.levels_of(image), image.shape[:2]
    symbols = analyse(model, [image], [levels])
    (on_this_host,) = on_host(symbols)
    stream = write(on_this_host, size, codec.base_level, codec.model_fingerprint)
    device = symbols.latent.device

    def pixels() -> Tensor:
        return padded([as_tensor(image)], levels.shape).to(device)

    def analysis() -> None:
        model.analyse(pixels().float().div_(255), symbols.cell_levels)[1].cpu()

    def prior() -> None:
        values = iter(symbols.groups)
        model.prior.traverse(symbols.cell_levels, lambda group: next(values) + group.mean)[0].cpu()

    def decoding() -> None:
        header, payload = read_stream(stream)
        decoder = GroupDecoder(payload)
        read_levels(decoder, header, levels.shape)
        symbol_checksum([decoder.decode(tables.reshape(-1)) for tables in on_this_host.tables])

    parts = {
        "analysis": analysis,
        "prior": prior,
        "coding": lambda: write(on_this_host, size, codec.base_level, codec.model_fingerprint),
        "decoding": decoding,
        "synthesis": lambda: synthesise(model, symbols.latent, symbols.cell_levels),
    }
    if codec.effort:

        def searching() -> None:
            search = Search(codec.effort, [size])
            latents = model.analyse(pixels().float().div_(255), symbols.cell_levels)
            refine(model, pixels(), symbols.cell_levels, *latents, search)[0].cpu()

        parts["search"] = searching
    seconds = {}
    with coding(model):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            seconds[name] = time.perf_counter() - started
    return seconds
