"""Detectron2's dataset mapper with a codec between the file and everything else."""

from typing import Any

import numpy as np
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.utils.file_io import PathManager

from salcompress.codecs import Codec, load_codec
from salcompress.codecs.identity import IdentityCodec
from salcompress.detectron.augmentation import (
    CodecTransform,
    RandomCompression,
    as_rgb,
    check_image_format,
)
from salcompress.detectron.config import configured_codec, configured_random_compression
from salcompress.errors import BitstreamError, DataError, SettingError
from salcompress.evaluation.round_trip import CodedImage, code
from salcompress.files import read_file
from salcompress.image import bits_per_pixel


class CompressedDatasetMapper(DatasetMapper):
    """What :class:`detectron2.data.DatasetMapper` does, on the decoded picture.

    The codec sees the original picture, before any resize or crop. To the stock mapper's keys it
    adds ``num_bits`` (of the whole stream), ``bpp`` (per pixel of the original), ``original_size``
    (height, width) and, with ``measure_distortion``, ``coded`` (a
    :class:`~salcompress.evaluation.round_trip.CodedImage` without its picture).

    Args:
        codec: A codec or its specification. Under "none" the rate is that of the source file and
            the pixels are untouched.
        random_compression: Compress the original picture, after ``codec``, by a setting drawn at
            random; where it does, the rate is that of the drawn setting.
        measure_distortion: Also take PSNR and MS-SSIM, some 30 ms a picture.
        is_train, augmentations, image_format, use_instance_mask, use_keypoint,
        instance_mask_format, keypoint_hflip_indices, precomputed_proposal_topk, recompute_boxes: As
        of the stock mapper; ``image_format``
            must be "BGR" or "RGB".

    Raises:
        SettingError: The codec or the format is wrong.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list,
        image_format: str,
        codec: Codec | str = "none",
        random_compression: RandomCompression | None = None,
        measure_distortion: bool = False,
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
        codec = load_codec(codec) if isinstance(codec, str) else codec
        self.augmentations = _CodecFirst(
            self.augmentations, codec, random_compression, image_format, measure_distortion
        )

    @classmethod
    def from_config(
        cls, cfg: CfgNode, is_train: bool = True, measure_distortion: bool = False
    ) -> dict[str, Any]:
        """Arguments from a config that has
        :func:`~salcompress.detectron.config.add_salcompress_config`'s node.
        """
        arguments = super().from_config(cfg, is_train)
        arguments["codec"] = configured_codec(cfg, is_train)
        arguments["measure_distortion"] = measure_distortion
        arguments["random_compression"] = configured_random_compression(cfg) if is_train else None
        return arguments

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map one picture.

        Raises:
            DataError: The codec cannot hold the picture; the message names the file.
        """
        path = dataset_dict["file_name"]
        self.augmentations.path = path
        try:
            mapped = super().__call__(dataset_dict)
        except (SettingError, BitstreamError) as error:
            raise DataError(f"{path}: {error}") from error
        coded, (height, width) = self.augmentations.coded, self.augmentations.original_size
        mapped.update(
            num_bits=coded.num_bits,
            bpp=bits_per_pixel(coded.num_bits, height, width),
            original_size=(height, width),
        )
        if self.augmentations.measure_distortion:
            mapped["coded"] = coded._replace(decoded=None)
        return mapped


class _CodecFirst:
    """The stock mapper's augmentations behind a codec.

    The stock mapper reads the picture and at once calls ``self.augmentations`` on it, once for each
    picture: the only place where a codec can stand without copying the mapper. What it measured
    there waits here for the mapper, which is never used by two threads.
    """

    def __init__(
        self,
        augmentations: T.AugmentationList,
        codec: Codec,
        random_compression: RandomCompression | None,
        image_format: str,
        measure_distortion: bool,
    ):
        self.augmentations, self.codec, self.random_compression = (
            augmentations,
            codec,
            random_compression,
        )
        self.image_format, self.measure_distortion = image_format, measure_distortion
        self.path = ""
        self.coded: CodedImage | None = None
        self.original_size = (0, 0)

    def __call__(self, aug_input: T.AugInput) -> T.TransformList:
        original = as_rgb(aug_input.image, self.image_format)
        self.original_size = original.shape[:2]
        source = (
            read_file(PathManager.get_local_path(self.path))
            if isinstance(self.codec, IdentityCodec)
            else None
        )
        self.coded = code(self.codec, original, source)
        drawn = (
            self.random_compression.get_transform(aug_input.image)
            if self.random_compression
            else None
        )
        if isinstance(drawn, CodecTransform):
            self.coded = code(drawn.codec, self.coded.decoded)
        if self.coded.decoded is not original:
            aug_input.image = as_rgb(self.coded.decoded, self.image_format)
        if self.measure_distortion:
            self.coded = self.coded.compared_to(original)
        return self.augmentations(aug_input)

    def __repr__(self) -> str:
        return f"[{self.codec.label}, {self.random_compression}, then {self.augmentations}]"
