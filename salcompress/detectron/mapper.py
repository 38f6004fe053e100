"""Detectron2's dataset mapper with a codec between the file and everything else."""

from typing import Any

import numpy as np
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from salcompress.codecs import Codec, load_codec
from salcompress.codecs.identity import IdentityCodec
from salcompress.codecs.salient.batched import refusal_named
from salcompress.detectron.augmentation import RandomCompression
from salcompress.detectron.config import configured_codec
from salcompress.detectron.picture_mapper import (
    PictureMapper,
    SourcePicture,
    as_tensor,
    refuse_twice,
    without_picture,
)
from salcompress.evaluation.round_trip import CodedImage, code
from salcompress.image import bits_per_pixel


class CompressedDatasetMapper(PictureMapper):
    """What :class:`detectron2.data.DatasetMapper` does, on the decoded picture.

    The codec sees the original picture, before any resize or crop. The mapper adds to the stock
    mapper's keys ``num_bits`` (of the whole stream), ``bpp`` (per pixel of the original) and
    ``original_size`` (height, width). With ``measure_distortion`` it adds ``coded``, a
    :class:`~salcompress.evaluation.round_trip.CodedImage` without its picture.

    Args:
        is_train: As of :class:`~salcompress.detectron.picture_mapper.PictureMapper`, as all that is
            not named here.
        codec: A codec or its specification. Under "none" the rate is that of the source file, and
            the pixels are untouched.
        random_compression: Compresses the picture after ``codec`` by a setting drawn at random.
            Where it does, the rate is that of the drawn setting. Where it draws "none", it does
            not.
        measure_distortion: Also take PSNR, MS-SSIM and the perceptual metric: some 0.2 s a picture.

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
        super().__init__(
            is_train,
            augmentations=augmentations,
            image_format=image_format,
            random_compression=random_compression,
            use_instance_mask=use_instance_mask,
            use_keypoint=use_keypoint,
            instance_mask_format=instance_mask_format,
            keypoint_hflip_indices=keypoint_hflip_indices,
            precomputed_proposal_topk=precomputed_proposal_topk,
            recompute_boxes=recompute_boxes,
        )
        self.codec = load_codec(codec) if isinstance(codec, str) else codec
        self.measure_distortion = measure_distortion

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
        return arguments

    def _code(self, entry: dict[str, Any], source: SourcePicture) -> np.ndarray:
        if source.stored_in and not isinstance(self.codec, IdentityCodec):
            refuse_twice(source.path, self.codec.label)
        with refusal_named(source.path):
            coded = self._coded(source)
        height, width = source.rgb.shape[:2]
        entry.update(
            num_bits=coded.num_bits,
            bpp=bits_per_pixel(coded.num_bits, height, width),
            original_size=(height, width),
        )
        if self.measure_distortion:
            entry["coded"] = without_picture(coded.compared_to(source.rgb))
        return coded.decoded

    def _coded(self, source: SourcePicture) -> CodedImage:
        coded = code(self.codec, source.rgb, source.content)
        drawn = self.random_compression.draw() if self.random_compression else 0
        if self.random_compression and drawn:
            codec = self.random_compression.settings[drawn - 1]
            if not isinstance(codec, IdentityCodec):  # which leaves picture and rate as they were
                return code(codec, coded.decoded)
        return coded

    def _augment(
        self, entry: dict[str, Any], picture: np.ndarray, labels: np.ndarray | None
    ) -> tuple[T.AugInput, T.TransformList]:
        augmented = T.AugInput(picture, sem_seg=labels)
        transforms = self.augmentations(augmented)
        entry["image"] = as_tensor(augmented.image)
        return augmented, transforms

    def __repr__(self) -> str:
        return (
            f"CompressedDatasetMapper({self.codec.label}, {self.random_compression}, then "
            f"{self.augmentations})"
        )
