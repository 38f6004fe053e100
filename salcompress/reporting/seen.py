"""What an evaluation saw in its images, as a page needs it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from salcompress.evaluation.annotated_objects import AnnotatedObjects
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.records import ImageRecord, read_records
from salcompress.evaluation.run_folder import records_path
from salcompress.metrics.finds import Finds, match


class SeenImage(NamedTuple):
    """What was measured of one image at one setting."""

    record: ImageRecord
    """Without its detections."""
    finds: Finds


Seen = Mapping[str, Mapping[int | str, SeenImage]]
"""What was seen, by the fingerprint of a row and the id of an image."""


def read_seen(folder: Path, rows: Sequence[RatePoint], objects: AnnotatedObjects) -> Seen:
    """What was measured of each image at each setting, without the images that were left out.

    Raises:
        DataError: A file of the folder is damaged or missing.
    """
    seen: dict[str, dict[int | str, SeenImage]] = {}
    left_out: set[int | str] = set()
    for row in rows:  # one file at a time: their detections are many
        records = read_records(records_path(folder, row.label, row.fingerprint))
        left_out |= {image_id for image_id, record in records.items() if record.skipped}
        seen[row.fingerprint] = {
            image_id: SeenImage(
                record._replace(detections=None),
                match(objects.by_image[image_id], record.detections or []),
            )
            for image_id, record in records.items()
            if image_id in objects.by_image
        }
    return {
        fingerprint: {i: image for i, image in images.items() if i not in left_out}
        for fingerprint, images in seen.items()
    }
