"""What one setting did to one image, measured and noted."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from salcompress.codecs import Codec
from salcompress.data.coco import SKIP_CURE, CocoDataset, CocoImage
from salcompress.data.object_mask import object_mask
from salcompress.detectors import Detector
from salcompress.errors import DataError
from salcompress.evaluation.detections import plain_detections
from salcompress.evaluation.kept_pictures import keep_decoded
from salcompress.evaluation.records import ImageRecord
from salcompress.evaluation.round_trip import CodedImage
from salcompress.image import PLACE
from salcompress.metrics.object_share import bits_on_mask


class ImageMeasurement:
    """Makes the records of one image; what they share is computed once.

    Args:
        folder: The run folder, for pictures.
        dataset: Images and annotations.
        image: The image.
        source_digest: Of its file; None where it cannot be read.
        skip_bad: A setting that cannot code the image gives a record that says so, and no error.
    """

    def __init__(
        self,
        folder: Path,
        dataset: CocoDataset,
        image: CocoImage,
        source_digest: str | None,
        skip_bad: bool,
    ):
        self.folder, self.image, self.skip_bad = folder, image, skip_bad
        self._coco = dataset.coco
        self._blank = ImageRecord(
            image.image_id, image.file_name, image.height, image.width, source_digest
        )
        self._mask: np.ndarray | None = None

    def record(
        self, codec: Codec, coded: CodedImage | DataError, detector: Detector, keep_picture: bool
    ) -> ImageRecord:
        """Detect in the decoded picture, and note all that was measured.

        Args:
            codec: The setting.
            coded: What became of the image, or why it could not be coded.
            detector: Sees the decoded picture.
            keep_picture: Keep the decoded picture for the report.

        Raises:
            DataError: The image could not be coded (without ``skip_bad``), the detector failed, or
                what it returned is no list of COCO results.
        """
        if isinstance(coded, CodedImage):
            coded = self._with_annotated_size(coded)
        if isinstance(coded, DataError):
            if not self.skip_bad:
                raise DataError(f"{coded}; {SKIP_CURE}") from coded
            return self._blank._replace(skipped=str(coded))
        if keep_picture:
            keep_decoded(self.folder, self.image, codec, coded)
        detections, detect_s = self._detect(detector, coded.decoded)
        record = self._blank._replace(
            num_bits=coded.num_bits,
            psnr=coded.psnr,
            ms_ssim=coded.ms_ssim,
            perceptual=coded.perceptual,
            encode_s=coded.encode_s,
            decode_s=coded.decode_s,
            detect_s=detect_s,
            detections=detections,
        )
        if coded.perceptual is not None:
            from salcompress.metrics.perceptual import shipped_fingerprint

            record = record._replace(perceptual_weights=shipped_fingerprint())
        if coded.maps is None:
            return record
        return record._replace(
            placed_bits=float(coded.maps.bits.sum()),
            object_bits=bits_on_mask(coded.maps.bits, self._object_mask(), PLACE),
            object_pixels=int(self._object_mask().sum()),
        )

    def _with_annotated_size(self, coded: CodedImage) -> CodedImage | DataError:
        height, width = coded.decoded.shape[:2]
        if (height, width) == (self.image.height, self.image.width):
            return coded
        return DataError(
            f"{self.image.path} is {width}x{height} once decoded, and annotated as "
            f"{self.image.width}x{self.image.height} (width x height)"
        )

    def _detect(self, detector: Detector, picture: np.ndarray) -> tuple[list[dict], float]:
        started = time.perf_counter()
        try:
            found = detector(picture)
        except Exception as error:  # a stranger's code, which does not know the image's name
            raise DataError(
                f"the detector failed on {self.image.path}: {type(error).__name__}: {error}"
            ) from error
        detect_s = time.perf_counter() - started
        return plain_detections(found, self.image), detect_s

    def _object_mask(self) -> np.ndarray:
        """Where the annotated objects are."""
        if self._mask is None:
            objects: Sequence[Mapping[str, Any]] = self._coco.loadAnns(
                self._coco.getAnnIds(imgIds=[self.image.image_id])
            )
            self._mask = object_mask(objects, self.image.height, self.image.width)
        return self._mask
