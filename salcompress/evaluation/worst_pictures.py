"""The pictures in which compression loses most, kept for the report once that is known."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from salcompress.codecs import Codec
from salcompress.data.coco import CocoDataset, CocoImage
from salcompress.evaluation.annotated_objects import read_objects
from salcompress.evaluation.kept_pictures import choose_pictures, keep, keep_decoded, kept_pictures
from salcompress.evaluation.rate_point import read_jsonl
from salcompress.evaluation.records import read_records
from salcompress.evaluation.round_trip import CodedImage
from salcompress.evaluation.run_folder import picture_path, records_path
from salcompress.evaluation.workers import CodingTask, coded_images
from salcompress.files import exclusive_folder
from salcompress.metrics.finds import match

NUM_WORST = 3
"""Images that are kept beside those that an evaluation keeps in any case."""


def keep_worst_pictures(
    out: Path | str, dataset: CocoDataset, codecs: Sequence[Codec], workers: int = 0
) -> None:
    """Keep the pictures in which compression loses most, for the report of a finished evaluation.

    They are coded once more. Those that an earlier call chose stay, so that all settings of a
    folder show the same pictures.

    Args:
        out: Folder of the evaluation.
        dataset: That of the evaluation.
        codecs: Its settings.
        workers: Processes that code; 0 does it in this one.

    Raises:
        DataError: A file of the folder is damaged.
        OutputError: The disk is full.
    """
    with exclusive_folder(out) as folder:
        kept = kept_pictures(folder)
        images = {image.image_id: image for image in dataset.images}
        if len(kept) <= len(choose_pictures(dataset)):
            worst = [i for i in worst_images(folder) if i not in kept and i in images][:NUM_WORST]
            kept = keep(folder, [images[i] for i in [*kept, *worst] if i in images])
        missing = [
            (images[image_id], codec)
            for image_id in kept
            for codec in codecs
            if not picture_path(folder, image_id, codec.label, codec.fingerprint).exists()
        ]
        _code(folder, missing, workers)


def worst_images(folder: Path) -> list[int | str]:
    """Ids of the images that lose detections over all settings, the most first.

    What counts is found without compression, where that was measured, else every object.

    Raises:
        DataError: A file of the folder is damaged.
    """
    rows, objects = read_jsonl(folder / "results.jsonl"), read_objects(folder)
    if objects is None:
        return []
    hits: dict[str, dict[int | str, frozenset[int]]] = {}
    for row in rows:
        records = read_records(records_path(folder, row.label, row.fingerprint))
        hits[row.fingerprint] = {
            image_id: match(objects.by_image[image_id], record.detections or []).hits
            for image_id, record in records.items()
            if image_id in objects.by_image and not record.skipped
        }
    plain = next((hits[row.fingerprint] for row in rows if row.codec == "none"), {})
    lost: Counter[int | str] = Counter()
    for found in hits.values():
        for image_id, hit in found.items():
            everything = frozenset(
                k for k, there in enumerate(objects.by_image[image_id]) if not there["iscrowd"]
            )
            lost[image_id] += len(plain.get(image_id, everything) - hit)
    # of those that lose as many, the order of the records must not decide
    ranked = sorted(lost, key=lambda image_id: (-lost[image_id], str(image_id)))
    return [image_id for image_id in ranked if lost[image_id]]


def _code(folder: Path, missing: Sequence[tuple[CocoImage, Codec]], workers: int) -> None:
    """Store pictures at settings, one after the other, so that few are held at a time."""
    tasks = [CodingTask(image.path, (k,)) for k, (image, _) in enumerate(missing)]
    with coded_images(
        [codec for _, codec in missing], tasks, workers, with_perceptual=False
    ) as results:
        for (image, codec), result in zip(missing, results, strict=True):
            (coded,) = result.coded
            if isinstance(coded, CodedImage):
                keep_decoded(folder, image, codec, coded)
