"""Compression as a training-time augmentation: the Augmentation decides, the Transform executes."""

from collections.abc import Sequence

import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, Transform

from salcompress.codecs import Codec, load_codecs
from salcompress.detectron.image_format import as_rgb, check_image_format
from salcompress.errors import SettingError
from salcompress.evaluation.round_trip import code


class CodecTransform(Transform):
    """Compress and decompress the picture. Coordinates, boxes, masks and label maps stay as they
    were.

    Args:
        codec: Any codec.
        image_format: "BGR" or "RGB", how the picture's channels lie.
    """

    def __init__(self, codec: Codec, image_format: str = "BGR"):
        super().__init__()
        check_image_format(image_format)
        self.codec, self.image_format = codec, image_format

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) to the same.

        Raises:
            SettingError: ``img`` is no such array. Put compression before augmentations that make
                pictures float.
        """
        return as_rgb(code(self.codec, as_rgb(img, self.image_format)).decoded, self.image_format)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation  # the default would send label maps through the codec

    def inverse(self) -> Transform:
        """The inverse of its geometry, which it does not change. Lost detail does not come back."""
        return NoOpTransform()


class RandomCompression(T.Augmentation):
    """Compress a picture by a codec setting drawn at random.

    Put it first, so that it sees the original picture; codecs then work as they do at test time.

    Args:
        codecs: Specifications. Each value of "jpeg:q=10,30" counts as one setting, and all settings
            are equally likely. "none" leaves the picture as it is.
        prob: How often a picture is compressed at all, in [0, 1].
        image_format: "BGR" or "RGB", how the picture's channels lie.

    Attributes:
        settings: The codecs, one a setting.

    Raises:
        SettingError: A specification, the probability or the format is wrong.
    """

    def __init__(self, codecs: Sequence[str], prob: float = 1.0, image_format: str = "BGR"):
        super().__init__()
        check_image_format(image_format)
        if not 0 <= prob <= 1:
            raise SettingError(f"prob must be in [0, 1], got {prob}")
        self.codecs, self.prob, self.image_format = list(codecs), prob, image_format
        self.settings = load_codecs(*self.codecs)
        if not self.settings:
            raise SettingError("codecs must name at least one codec")

    def draw(self) -> int:
        """Number, from 1, of the setting that compresses the next picture; 0 for none."""
        return (
            0 if self._rand_range() >= self.prob else 1 + int(np.random.randint(len(self.settings)))
        )

    def get_transform(self, image: np.ndarray) -> Transform:
        """The drawn codec as a transform, or one that does nothing."""
        drawn = self.draw()
        return (
            CodecTransform(self.settings[drawn - 1], self.image_format)
            if drawn
            else NoOpTransform()
        )
