"""What settings do to images, measured and noted."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from salcompress.codecs import Codec
from salcompress.data.coco import SKIP_CURE, CocoImage
from salcompress.data.object_mask import object_mask
from salcompress.detectors import Detector
from salcompress.detectors.base import input_size_of
from salcompress.errors import DataError
from salcompress.evaluation.detections import plain_detections
from salcompress.evaluation.records import ImageRecord
from salcompress.evaluation.round_trip import CodedImage, CodedSettings
from salcompress.evaluation.workers import CodingTask, coded_images
from salcompress.image import PLACE
from salcompress.metrics.object_share import bits_on_mask


class ImageTask(NamedTuple):
    """One image that is to be measured at some settings."""

    image: CocoImage
    objects: Sequence[Mapping[str, Any]]
    """The image's annotations."""
    settings: tuple[int, ...]
    """Positions in the list of codecs."""
    keeps_pictures: bool
    """The report wants the decoded pictures."""


class Measured(NamedTuple):
    """What one setting did to one image."""

    record: ImageRecord
    picture: CodedImage | None
    """The decoded image, if the report wants it."""


class Conditions(NamedTuple):
    """What all images of a run are measured with."""

    codecs: Sequence[Codec]
    skip_bad: bool
    """A setting that cannot code an image gives a record that says so, and no error."""
    with_perceptual: bool
    """Measure the learned metric, too."""


TaskResult: TypeAlias = tuple[ImageTask, Iterable[Measured]]
"""A task, and what each of its settings did, perhaps measured as it is read."""

Measure: TypeAlias = Callable[
    [Conditions, Sequence[ImageTask]], AbstractContextManager[Iterator[TaskResult]]
]
"""Measures tasks somewhere. Within the context the results come in any order of the tasks."""


@contextlib.contextmanager
def measure_here(
    conditions: Conditions, tasks: Sequence[ImageTask], detector: Detector, workers: int
) -> Iterator[Iterator[TaskResult]]:
    """Measure on this machine: the detector in this process, codecs and metrics in workers.

    Args:
        workers: See :func:`salcompress.evaluation.workers.coded_images`.

    Raises:
        SettingError: ``workers`` is negative, or a codec cannot be sent to another process.
        DataError: (while reading) An image could not be coded, the detector failed, or a worker
            process died.
    """
    coding = [CodingTask(task.image.path, task.settings) for task in tasks]
    with coded_images(conditions.codecs, coding, workers, conditions.with_perceptual) as coded:
        yield (
            (task, measure_image(conditions, task, found, detector))
            for task, found in zip(tasks, coded)
        )


def measure_image(
    conditions: Conditions, task: ImageTask, coded: CodedSettings, detector: Detector
) -> Iterator[Measured]:
    """What each setting of a task did, after the image was coded, one by one.

    Raises:
        DataError: The image could not be coded (without ``skip_bad``), the detector failed, or what
            it returned is no list of COCO results.
    """
    measurement = _ImageMeasurement(task, coded.source_digest, conditions.skip_bad)
    return (measurement.measured(result, detector) for result in coded.coded)


class _ImageMeasurement:
    """Makes the records of one image; what they share is computed once."""

    def __init__(self, task: ImageTask, source_digest: str | None, skip_bad: bool):
        self.task, self.image, self.skip_bad = task, task.image, skip_bad
        self._blank = ImageRecord(
            self.image.image_id,
            self.image.file_name,
            self.image.height,
            self.image.width,
            source_digest,
        )
        self._mask: np.ndarray | None = None
        self._seen: tuple[int | None] | None = None

    def measured(self, coded: CodedImage | DataError, detector: Detector) -> Measured:
        """Detect in the decoded picture, and note all that was measured."""
        if isinstance(coded, CodedImage):
            coded = self._with_annotated_size(coded)
        if isinstance(coded, DataError):
            if not self.skip_bad:
                raise DataError(f"{coded}; {SKIP_CURE}") from coded
            return Measured(self._blank._replace(skipped=str(coded)), None)
        picture = coded if self.task.keeps_pictures else None
        return Measured(self._record(coded, detector), picture)

    def _record(self, coded: CodedImage, detector: Detector) -> ImageRecord:
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
            detector_pixels=self._detector_pixels(detector),
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

    def _detector_pixels(self, detector: Detector) -> int | None:
        """How many pixels the detector sees of the image; None where it does not say."""
        if self._seen is None:
            size = input_size_of(detector, self.image.height, self.image.width)
            self._seen = (None if size is None else size[0] * size[1],)
        return self._seen[0]

    def _object_mask(self) -> np.ndarray:
        """Where the annotated objects are."""
        if self._mask is None:
            self._mask = object_mask(self.task.objects, self.image.height, self.image.width)
        return self._mask
