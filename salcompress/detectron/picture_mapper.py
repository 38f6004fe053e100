"""The sequence that the mappers of this package share: Detectron2's, with a place for a codec."""

import copy
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.utils.file_io import PathManager
from torch import Tensor

from salcompress.detectron.augmentation import RandomCompression
from salcompress.detectron.config import configured_random_compression
from salcompress.detectron.image_format import as_rgb, check_image_format, check_same_format
from salcompress.detectron.stored_dataset import STORED_KEY, stored_images
from salcompress.errors import BitstreamError, DataError, SettingError
from salcompress.evaluation.round_trip import CodedImage
from salcompress.files import read_file
from salcompress.image import decode_named_image


class SourcePicture(NamedTuple):
    """A picture as it was read."""

    rgb: np.ndarray
    """uint8 (H, W, 3), upright."""
    content: bytes
    """The whole file, or the stream of a stored data set."""
    path: str
    """As the data set names it."""
    stored_in: str | None = None
    """Location of the stored data set that it comes from, compressed already."""
    is_decoded: bool = True
    """Otherwise ``content`` is still to be decoded, and of ``rgb`` the size alone is true."""


class PictureMapper(DatasetMapper):
    """:class:`detectron2.data.DatasetMapper` with one step more: the original picture is coded.

    Pictures are read as every command of this package reads them, so that 16-bit grey, EXIF
    orientation and damage mean the same everywhere. Subclasses say how a picture is coded
    (``_code``) and what the augmentations are applied to (``_augment``).

    Args:
        is_train: Whether annotations are kept and compression may be random.
        augmentations: Detectron2's, applied after the codec.
        image_format: "BGR" or "RGB", how the channels of ``image`` are to lie.
        random_compression: Draws the setting that compresses the picture after the codec.
        leaves_streams: Pictures that the learned codec stored are left to be decoded behind the
            loader.
        use_instance_mask, use_keypoint, instance_mask_format, keypoint_hflip_indices,
            precomputed_proposal_topk, recompute_boxes: As of the stock mapper.

    Raises:
        SettingError: The format is wrong, or ``random_compression`` has another.
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
        leaves_streams: bool = False,
    ):
        check_image_format(image_format)
        if random_compression:
            check_same_format(image_format, random_compression.image_format, "RandomCompression")
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
        self.leaves_streams = leaves_streams

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

        Args:
            dataset_dict: Detectron2's dict of a picture; it stays as it is.

        Raises:
            DataError: The picture cannot be read, is of another size than its dict says, or the
                codec cannot hold it. The message names the file.
            SettingError: The augmentations cannot follow the codec.
        """
        entry = copy.deepcopy(dataset_dict)
        # 1. Read the picture, and its label map if it has one.
        source = _read_picture(entry, self.leaves_streams)
        labels = None
        if "sem_seg_file_name" in entry:
            labels = utils.read_image(entry.pop("sem_seg_file_name"), "L").squeeze(2)
        # 2. Code the original picture, and note the rate.
        decoded = self._code(entry, source)
        # 3. Draw the augmentations, and apply them to the picture and its label map.
        augmented, transforms = self._augment(entry, as_rgb(decoded, self.image_format), labels)
        size = augmented.image.shape[:2]
        if augmented.sem_seg is not None:
            entry["sem_seg"] = torch.as_tensor(augmented.sem_seg.astype("long"))
        # 4. Apply what was drawn to proposals and annotations.
        if self.proposal_topk is not None:
            utils.transform_proposals(entry, size, transforms, proposal_topk=self.proposal_topk)
        if not self.is_train:
            entry.pop("annotations", None)
        elif "annotations" in entry:
            self._transform_annotations(entry, transforms, size)
        return entry

    def _code(self, entry: dict[str, Any], source: SourcePicture) -> np.ndarray:
        """The RGB picture that goes on, uint8 (H, W, 3); what is known of its rate is noted."""
        raise NotImplementedError

    def _augment(
        self, entry: dict[str, Any], picture: np.ndarray, labels: np.ndarray | None
    ) -> tuple[T.AugInput, T.TransformList]:
        """The augmented picture and label map, and the transforms; the entry gets its ``image``."""
        raise NotImplementedError


def as_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) to (3, H, W), contiguous: processes share tensors more cheaply than arrays."""
    return torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))


def without_pixels(size: tuple[int, int]) -> np.ndarray:
    """A picture of which only the size is true, in next to no memory."""
    return np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (*size, 3))


def without_picture(coded: CodedImage) -> CodedImage:
    """The figures of a coded image alone, as they stand in a dict under "coded"."""
    return coded._replace(decoded=cast(np.ndarray, None))


def _read_picture(entry: dict[str, Any], leaves_streams: bool) -> SourcePicture:
    path, location, is_decoded = entry["file_name"], None, True
    if STORED_KEY in entry:
        location, number = entry.pop(STORED_KEY)
        images = stored_images(location)
        try:
            content = images.streams.stream(number)
            is_decoded = not (leaves_streams and images.is_learned)
            size = (images.streams[number].height, images.streams[number].width)
            rgb = images.codec.decode(content) if is_decoded else without_pixels(size)
        except BitstreamError as error:
            raise DataError(f"{path}: {error}") from error
    else:
        try:
            content = read_file(PathManager.get_local_path(path))
        except OSError as error:  # of a remote file
            raise DataError(f"cannot read {path}: {error}") from error
        rgb = decode_named_image(content, path)
    try:
        utils.check_image_size(entry, rgb)
    except utils.SizeMismatchError as error:
        raise DataError(f"{path}: {error}") from error
    return SourcePicture(rgb, content, path, location, is_decoded)


def refuse_twice(path: str | None, codec: str) -> NoReturn:
    """Say that a stored picture would be compressed a second time.

    Raises:
        SettingError: Always.
    """
    raise SettingError(
        f"{path} is stored compressed, and {codec} would compress it once more; set the codec of "
        'its data set to "none"'
    )
