"""What a setting loses."""

from salcompress.evaluation.annotated_objects import AnnotatedObjects
from salcompress.evaluation.records import ImageRecord
from salcompress.metrics.finds import match
from salcompress.reporting.losses import losses
from salcompress.reporting.seen import SeenImage
from tests.reporting.rows import row

CAT = {"bbox": [0, 0, 10, 10], "category_id": 1, "iscrowd": 0}
DOG = {"bbox": [20, 0, 10, 10], "category_id": 2, "iscrowd": 0}
CROWD = {"bbox": [40, 0, 40, 40], "category_id": 1, "iscrowd": 1}
OBJECTS = AnnotatedObjects({1: "cat", 2: "dog"}, {7: [CAT, DOG, CROWD], 8: [CAT]})


def seen(**found):
    """Both images, with these detections in each."""
    return {
        image_id: SeenImage(
            ImageRecord(image_id, f"{image_id}.jpg", 10, 80, num_bits=400, psnr=30.0),
            match(OBJECTS.by_image[image_id], [thing | {"score": 0.9} for thing in things]),
        )
        for image_id, things in ((7, found["seven"]), (8, found["eight"]))
    }


NONE, JPEG = row("none", 1, 8.0, 30, setting=""), row("jpeg", 10, 0.5, 20)


def test_a_loss_is_what_was_found_before():
    before, after = seen(seven=[CAT], eight=[CAT]), seen(seven=[DOG], eight=[CAT])
    found = losses([NONE, JPEG], {NONE.fingerprint: before, JPEG.fingerprint: after}, OBJECTS)
    assert list(found) == [JPEG.fingerprint]
    (loss,) = found[JPEG.fingerprint].worst
    assert (loss.file_name, loss.lost, loss.before, loss.bpp) == ("7.jpg", {"cat": 1}, 1, 0.5)
    assert found[JPEG.fingerprint][1:] == (1, 2, 1)


def test_without_an_uncompressed_row_every_object_counts():
    found = losses([JPEG], {JPEG.fingerprint: seen(seven=[], eight=[])}, OBJECTS)
    assert [loss.image_id for loss in found[JPEG.fingerprint].worst] == [7, 8]
    assert found[JPEG.fingerprint].worst[0].lost == {"cat": 1, "dog": 1}
