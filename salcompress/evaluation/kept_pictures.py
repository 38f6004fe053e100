"""The few pictures that an evaluation keeps for its report."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from salcompress.codecs.base import Codec
from salcompress.data.coco import CocoDataset, CocoImage
from salcompress.errors import DataError
from salcompress.evaluation.round_trip import CodedImage
from salcompress.evaluation.run_folder import maps_path, picture_path
from salcompress.files import read_file, write_atomically
from salcompress.image import encode_image, read_image

NUM_PICTURES = 3
"""Images whose pictures are kept."""
_INDEX = "kept.json"


def choose_pictures(dataset: CocoDataset) -> list[CocoImage]:
    """The few images that the report shows: spread over the data set, among those with objects
    where there are any.
    """
    with_objects = [
        image for image in dataset.images if dataset.coco.getAnnIds(imgIds=[image.image_id])
    ]
    pool = with_objects or list(dataset.images)
    step = max(1, len(pool) // NUM_PICTURES)
    return pool[step // 2 :: step][:NUM_PICTURES]


def keep_originals(folder: Path, dataset: CocoDataset) -> set[int | str]:
    """Store the original pictures of what the report shows: some of the data set, and those that
    an earlier run kept.

    Returns:
        Ids of the images whose decoded pictures are wanted, too.
    """
    earlier = set(kept_pictures(folder))
    further = [image for image in dataset.images if image.image_id in earlier]
    wanted = {image.image_id: image for image in [*choose_pictures(dataset), *further]}
    return set(keep(folder, list(wanted.values())))


def keep(folder: Path, images: Sequence[CocoImage]) -> list[int | str]:
    """Store these originals, and have the report show these images and no others.

    Returns:
        Ids of the images that could be read.
    """
    kept = []
    for image in images:
        path = picture_path(folder, image.image_id)
        try:
            if not path.exists():
                write_atomically(path, _as_png(read_image(image.path)))
        except DataError:
            continue  # a damaged image stops the run, or is skipped, when it is coded
        kept.append(image.image_id)
    write_atomically(folder / "pictures" / _INDEX, json.dumps(kept))
    return kept


def kept_pictures(folder: Path) -> list[int | str]:
    """Ids of the images whose pictures a run kept; none where it kept none.

    Raises:
        DataError: The list is damaged.
    """
    path = folder / "pictures" / _INDEX
    if not path.exists():
        return []
    try:
        ids = json.loads(read_file(path))
        if not isinstance(ids, list) or not all(isinstance(i, (int, str)) for i in ids):
            raise ValueError("no list of ids")
    except ValueError as error:
        raise DataError(f"{path} is damaged; delete it, or evaluate again") from error
    return [i for i in ids if picture_path(folder, i).exists()]


def keep_decoded(folder: Path, image: CocoImage, codec: Codec, coded: CodedImage) -> None:
    """Store the decoded picture of an image and, if its codec gives them, its maps."""
    path = picture_path(folder, image.image_id, codec.label, codec.fingerprint)
    write_atomically(path, _as_png(coded.decoded))
    if coded.maps is not None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **coded.maps._asdict())
        write_atomically(
            maps_path(folder, image.image_id, codec.label, codec.fingerprint), buffer.getvalue()
        )


def _as_png(image: np.ndarray) -> bytes:
    return encode_image(image, "PNG", compress_level=1)
