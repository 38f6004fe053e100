"""What a stream would give, without writing it."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from salcompress.codecs.salient.codec import SalientCodec
    from salcompress.codecs.salient.symbols import SymbolTensors


class Reconstruction(NamedTuple):
    """What a stream would give, counted without being written."""

    image: np.ndarray
    """uint8 (H, W, 3). Decoding gives the same up to one grey level in rare places (see
    :class:`~salcompress.codecs.salient.SalientCodec`).
    """
    num_bits: int
    """Length of the stream in bits by the integer tables, headers included: its true length within
    64 bits.
    """
    bits_map: np.ndarray
    """Bits at each 16x16 place of the image, padded to whole 64x64 cells, float64 (rows, columns).
    Both latents and the quality map count.
    """


def reconstruct(codec: "SalientCodec", image: np.ndarray) -> Reconstruction:
    """Image and rate as encoding and decoding would give them."""
    from salcompress.codecs.salient.bit_counter import spatial_bits, stream_bits
    from salcompress.codecs.salient.decoder import synthesise
    from salcompress.codecs.salient.encoder import symbols_of

    symbols = symbols_of(codec, [image])
    base = _base_levels(codec, symbols)
    (decoded,) = synthesise(codec.model, symbols.latent, symbols.cell_levels)
    return Reconstruction(
        np.ascontiguousarray(decoded[: image.shape[0], : image.shape[1]]),
        int(stream_bits(symbols, base)),
        spatial_bits(symbols, base)[0].cpu().numpy(),
    )


def num_bits(codec: "SalientCodec", image: np.ndarray) -> int:
    """Length in bits of the stream that encoding would give, within 64 bits."""
    from salcompress.codecs.salient.bit_counter import stream_bits
    from salcompress.codecs.salient.encoder import symbols_of

    symbols = symbols_of(codec, [image])
    return int(stream_bits(symbols, _base_levels(codec, symbols)))


def _base_levels(codec: "SalientCodec", symbols: "SymbolTensors") -> "Tensor":
    """The base level of each image of a batch, where its symbols are."""
    return symbols.cell_levels.new_full((len(symbols.cell_levels),), codec.base_level)
