"""The learned codec: images to streams and back, one by one or in batches of tensors."""

from salcompress.codecs.salient.codec import WEIGHTS, Reconstruction, SalientCodec

__all__ = ["WEIGHTS", "Reconstruction", "SalientCodec"]
