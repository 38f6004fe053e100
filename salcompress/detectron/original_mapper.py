"""Detectron2's dataset mapper with the picture left as it is, for a codec that works behind the
loader.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.utils.file_io import PathManager

from salcompress.detectron.augmentation import RandomCompression, check_image_format
from salcompress.detectron.config import configured_random_compression
from salcompress.detectron.device_transforms import check_transforms, transformed_size
from salcompress.errors import DataError


class OriginalImageMapper(DatasetMapper):
    """What :class:`detectron2.data.DatasetMapper` does, with compression and geometry of the
    picture left for later.

    Runs in the loader's processes, where CUDA cannot be used: it decides all that is random and
    transforms the annotations, and hands over

    * ``image``: the picture as read, uint8 (3, H, W) in ``image_format``,
    * ``transforms``: what was applied to the annotations and is still to be applied to the picture,
    * ``original_size`` (height, width), ``source_bits`` (of the file), and
    * ``codec_index``: 0, or k for the k-th setting of ``random_compression``.

    Args:
        random_compression: Decides which setting compresses the picture after the stage's codec.
        is_train, augmentations, image_format, use_instance_mask, use_keypoint,
        instance_mask_format, keypoint_hflip_indices, precomputed_proposal_topk, recompute_boxes: As
        of the stock mapper; ``image_format``
            must be "BGR" or "RGB".

    Raises:
        SettingError: The format is wrong; when called, an augmentation is not geometric.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list,
        image_format: str,
        random_compression: RandomCompression | None = None,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ):
        check_image_format(image_format)
        super().__init__(
            is_train,
            augmentations=augmentations,
            image_format=image_format,
            use_instance_mask=use_instance_mask,
            use_keypoint=use_keypoint,
            instance_mask_format=instance_mask_format,
            keypoint_hflip_indices=keypoint_hflip_indices,
            precomputed_proposal_topk=precomputed_proposal_topk,
            recompute_boxes=recompute_boxes,
        )
        self.random_compression = random_compression
        self.augmentations = _Recorder(self.augmentations)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Arguments from a config that has
        :func:`~salcompress.detectron.config.add_salcompress_config`'s node.
        """
        arguments = super().from_config(cfg, is_train)
        arguments["random_compression"] = configured_random_compression(cfg) if is_train else None
        return arguments

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map one picture.

        Raises:
            DataError: It cannot be read; the message names the file.
        """
        try:
            mapped = super().__call__(dataset_dict)
            source_bits = (
                8 * Path(PathManager.get_local_path(dataset_dict["file_name"])).stat().st_size
            )
        except OSError as error:
            raise DataError(f"{dataset_dict['file_name']}: {error}") from error
        original = self.augmentations.original
        mapped.update(
            image=torch.as_tensor(np.ascontiguousarray(original.transpose(2, 0, 1))),
            transforms=self.augmentations.transforms,
            original_size=original.shape[:2],
            source_bits=source_bits,
            codec_index=self.random_compression.draw() if self.random_compression else 0,
        )
        return mapped


class _SizeAlone(T.AugInput):
    """A picture of which only the size follows the transforms: its pixels are for later, and
    resizing them here would be for nothing.
    """

    def transform(self, tfm: T.Transform) -> None:
        check_transforms(tfm)
        size = transformed_size(self.image.shape[:2], tfm)
        self.image = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (*size, 3))
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)


class _Recorder:
    """The stock mapper's augmentations, which keeps what they were given and what they decided
    until the mapper asks.
    """

    def __init__(self, augmentations: T.AugmentationList):
        self.augmentations = augmentations
        self.original = np.empty((0, 0, 3), np.uint8)
        self.transforms = T.TransformList([])

    def __call__(self, aug_input: T.AugInput) -> T.TransformList:
        self.original = aug_input.image
        followed = _SizeAlone(aug_input.image, sem_seg=aug_input.sem_seg)
        self.transforms = self.augmentations(followed)
        aug_input.image, aug_input.sem_seg = followed.image, followed.sem_seg
        return self.transforms

    def __repr__(self) -> str:
        return f"[{self.augmentations}, of annotations; the picture follows]"
