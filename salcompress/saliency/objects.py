"""Annotated objects as saliency: what steering could do at best, and a way to spend bits on any
regions one has marked.
"""

import numpy as np

from salcompress.data.coco import CocoDataset
from salcompress.data.object_mask import object_mask
from salcompress.errors import SettingError
from salcompress.files import digest
from salcompress.image import read_image


class ObjectSaliency:
    """A saliency function for the images of a COCO data set: 1 on annotated objects, 0 elsewhere.

    Args:
        dataset: Its images are read once, to be known again by their pixels.
        boxes: Fill the objects' boxes, even where they have masks.
    """

    def __init__(self, dataset: CocoDataset, boxes: bool = True):
        self.label = f"{'boxes' if boxes else 'masks'}-{digest(dataset.fingerprint)[:12]}"
        """Names the function in settings and fingerprints."""
        self._maps = {}
        for image in dataset.images:
            objects = dataset.coco.loadAnns(dataset.coco.getAnnIds(imgIds=[image.image_id]))
            wanted = [{"bbox": found["bbox"]} for found in objects] if boxes else objects
            self._maps[digest(read_image(image.path).tobytes())] = np.packbits(
                object_mask(wanted, image.height, image.width), axis=1
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """bool (H, W) of an image of the data set, uint8 (H, W, 3).

        Raises:
            SettingError: The image is not one of the data set's.
        """
        packed = self._maps.get(digest(image.tobytes()))
        if packed is None:
            raise SettingError(
                "the image is none of the data set's, whose objects alone are known; give the "
                "pixels as read_image reads them"
            )
        return np.unpackbits(packed, axis=1, count=image.shape[1]).astype(bool)
