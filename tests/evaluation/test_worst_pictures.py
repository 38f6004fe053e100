"""The pictures in which compression loses most are kept, and are those that were measured."""

import numpy as np

from salcompress.codecs import load_codecs
from salcompress.evaluation.kept_pictures import choose_pictures, kept_pictures
from salcompress.evaluation.records import read_records
from salcompress.evaluation.run_folder import picture_path, records_path
from salcompress.evaluation.worst_pictures import keep_worst_pictures, worst_images
from salcompress.image import read_image
from salcompress.metrics.finds import match
from tests.evaluation.runs import run

CODECS = load_codecs("none", "jpeg:q=1")


def blind(dataset, *image_ids):
    """A detector that sees every object, but in decoded pictures of these images none."""
    there = {
        read_image(image.path).tobytes(): dataset.coco.imgToAnns[image.image_id]
        for image in dataset.images
    }
    shapes = {image.image_id: read_image(image.path) for image in dataset.images}

    def detect(picture):
        known = there.get(picture.tobytes())
        if known is None:  # decoded: of the original that it is nearest to
            image_id = min(shapes, key=lambda i: np.abs(shapes[i] - picture.astype(float)).sum())
            known = () if image_id in image_ids else dataset.coco.imgToAnns[image_id]
        return [{"bbox": o["bbox"], "category_id": o["category_id"], "score": 0.9} for o in known]

    return detect


def test_the_worst_come_first_and_are_kept_beside_the_others(scene_dataset, tmp_path):
    chosen = [image.image_id for image in choose_pictures(scene_dataset)]
    spoilt = [i.image_id for i in scene_dataset.images if i.image_id not in chosen][:2]
    run(scene_dataset, blind(scene_dataset, *spoilt), CODECS, tmp_path)
    assert set(worst_images(tmp_path)) == set(spoilt)
    keep_worst_pictures(tmp_path, scene_dataset, CODECS)
    assert kept_pictures(tmp_path)[:3] == chosen and set(kept_pictures(tmp_path)[3:]) == set(spoilt)
    jpeg = CODECS[1]
    for image in scene_dataset.images:
        path = picture_path(tmp_path, image.image_id, jpeg.label, jpeg.fingerprint)
        if image.image_id in spoilt:
            original = read_image(image.path)
            assert np.array_equal(read_image(path), jpeg.decode(jpeg.encode(original)))
        assert path.exists() == (image.image_id in kept_pictures(tmp_path))


def test_further_settings_show_the_same_pictures(scene_dataset, tmp_path):
    run(scene_dataset, blind(scene_dataset, 1, 2, 3, 4, 5, 6), CODECS, tmp_path)
    keep_worst_pictures(tmp_path, scene_dataset, CODECS)
    kept = kept_pictures(tmp_path)
    further = load_codecs("webp:q=1")
    run(scene_dataset, blind(scene_dataset), further, tmp_path)
    keep_worst_pictures(tmp_path, scene_dataset, further)
    assert kept_pictures(tmp_path) == kept
    for image_id in kept:
        path = picture_path(tmp_path, image_id, further[0].label, further[0].fingerprint)
        assert path.exists()


def test_where_nothing_is_lost_nothing_is_added(scene_dataset, tmp_path):
    run(scene_dataset, blind(scene_dataset), CODECS, tmp_path)
    keep_worst_pictures(tmp_path, scene_dataset, CODECS)
    assert len(kept_pictures(tmp_path)) == 3
    records = read_records(records_path(tmp_path, CODECS[1].label, CODECS[1].fingerprint))
    objects = scene_dataset.coco.imgToAnns
    assert all(
        match(objects[i], record.detections).hits == set(range(len(objects[i])))
        for i, record in records.items()
    )
