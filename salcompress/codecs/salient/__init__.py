"""The learned codec: images to streams and back, one by one or in batches of tensors."""

from salcompress.codecs.salient.codec import SalientCodec
from salcompress.codecs.salient.known_weights import WEIGHTS
from salcompress.codecs.salient.reconstruction import Reconstruction

__all__ = ["WEIGHTS", "Reconstruction", "SalientCodec"]
