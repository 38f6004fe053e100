"""Detectron2's dataset mapper with the picture left as it is, for a codec that works behind the
loader.
"""

from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from pycocotools import mask as mask_util

from salcompress.codecs.salient.networks import default_device
from salcompress.detectron.device_transforms import check_transforms, transformed_size
from salcompress.detectron.picture_mapper import (
    PictureMapper,
    SourcePicture,
    as_tensor,
    without_pixels,
)
from salcompress.errors import SettingError


class OriginalImageMapper(PictureMapper):
    """What :class:`detectron2.data.DatasetMapper` does, with compression and geometry of the
    picture left for later.

    It runs in the loader's processes, where CUDA cannot be used. It decides all that is random,
    transforms the annotations, and hands over

    * ``image``: the picture as read, uint8 (3, H, W) in ``image_format``; or, with
      ``leaves_streams``, of a data set that the learned codec stored, ``stream`` and ``stored_in``,
      its data set's location, which the stage decodes in batches,
    * ``image_format``,
    * ``transforms``: what was applied to the annotations and is still to be applied to the picture,
    * ``original_size`` (height, width),
    * ``source_bits``, of the file, or of the stream of a stored data set (``is_stored``), and
    * ``codec_index``: 0, or k for the k-th setting of ``random_compression``.

    Args:
        crop: Side in pixels of a square that is cut out of each picture at random before the codec
            sees it, so that small parts of large pictures teach; 0 leaves pictures whole. A picture
            that is smaller in a direction is left whole in it. ``original_size`` then is the
            square's.
        random_compression: Decides which setting compresses the picture after the stage's codec.
        is_train: As of :class:`~salcompress.detectron.picture_mapper.PictureMapper`, as all that is
            not named here.

    Raises:
        SettingError: The format is wrong; when called, an augmentation is not geometric.
    """

    def __init__(self, *args: Any, crop: int = 0, **others: Any):
        super().__init__(*args, **others)
        if crop < 0:
            raise SettingError(f"crop must be at least 0, got {crop}")
        self.crop = crop
        if crop:  # pixels are cut, so they must be there
            self.leaves_streams = False

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments from a config; streams are left to the stage where that has a GPU."""
        arguments = super().from_config(cfg, is_train)
        arguments["leaves_streams"] = default_device().startswith("cuda")
        return arguments

    def _code(self, entry: dict[str, Any], source: SourcePicture) -> np.ndarray:
        entry.update(
            original_size=source.rgb.shape[:2],
            image_format=self.image_format,
            source_bits=8 * len(source.content),
            is_stored=source.stored_in is not None,
            codec_index=self.random_compression.draw() if self.random_compression else 0,
        )
        if not source.is_decoded:
            entry.update(stream=source.content, stored_in=source.stored_in)
        return source.rgb

    def _augment(
        self, entry: dict[str, Any], picture: np.ndarray, labels: np.ndarray | None
    ) -> tuple[T.AugInput, T.TransformList]:
        cut = T.TransformList([])
        if self.crop:
            whole = T.AugInput(picture, sem_seg=labels)
            cut = T.AugmentationList([T.RandomCrop("absolute", (self.crop, self.crop))])(whole)
            picture, labels = whole.image, whole.sem_seg
            entry["original_size"] = picture.shape[:2]
        followed = _SizeAlone(picture, sem_seg=labels)
        transforms = self.augmentations(followed)
        entry["transforms"] = transforms
        if "stream" not in entry:
            entry["image"] = as_tensor(picture)
        return followed, cut + transforms

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: T.TransformList, image_shape: tuple
    ) -> None:
        if self.crop and self.use_instance_mask:
            # Detectron2 cuts polygons by a library that it does not require, and masks by itself
            for annotation in dataset_dict["annotations"]:
                if isinstance(annotation.get("segmentation"), list):
                    size = (dataset_dict["height"], dataset_dict["width"])
                    annotation["segmentation"] = mask_util.merge(
                        mask_util.frPyObjects(annotation["segmentation"], *size)
                    )
        super()._transform_annotations(dataset_dict, transforms, image_shape)

    def __repr__(self) -> str:
        return f"OriginalImageMapper({self.augmentations}, of annotations; the picture follows)"


class _SizeAlone(T.AugInput):
    """A picture of which only the size follows the transforms: its pixels are for later, and
    resizing them here would be for nothing.
    """

    image: np.ndarray
    sem_seg: np.ndarray | None

    def transform(self, tfm: T.Transform) -> None:
        check_transforms(tfm)
        size = transformed_size(self.image.shape[:2], tfm)
        self.image = without_pixels(size)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)
