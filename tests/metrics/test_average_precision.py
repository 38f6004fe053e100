"""AP is pycocotools'; the bootstrap is what pycocotools would say of the resampled set."""

import copy

import numpy as np
import pytest

from salcompress.data.coco import load_annotations
from salcompress.errors import DataError
from salcompress.metrics.average_precision import average_precision, bootstrap_average_precision


@pytest.fixture(scope="module")
def noisy_detections(scenes):
    """Annotated objects jittered, some lost, some of a wrong class, with untied random scores."""
    coco, _ = load_annotations(scenes)
    rng = np.random.default_rng(3)
    found = {}
    for image_id in coco.getImgIds():
        found[image_id] = []
        for annotation in coco.loadAnns(coco.getAnnIds(image_id)) * 2:
            box = np.array(annotation["bbox"]) + rng.normal(0, 2, 4)
            category = annotation["category_id"] if rng.random() < 0.8 else int(rng.integers(1, 7))
            if rng.random() < 0.8:
                found[image_id].append(
                    {
                        "category_id": category,
                        "bbox": box.tolist(),
                        "score": float(rng.random()),
                        "segmentation": coco.annToRLE(annotation),
                    }
                )
    return coco, found


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_weight_one_gives_the_figure_itself(noisy_detections, kind):
    coco, found = noisy_detections
    result = average_precision(coco, list(found), found, kind)
    assert 20 < result.values["AP"] < 95
    assert bootstrap_average_precision(result.matches, np.ones((1, len(found))))[
        0
    ] == pytest.approx(result.values["AP"], abs=1e-9)


def test_weights_are_copies_of_images(noisy_detections):
    coco, found = noisy_detections
    weights = np.array([2, 0, 1, 3, 1, 0])
    repeated, repeated_found = copy.deepcopy(coco), {}
    repeated.dataset["images"], repeated.dataset["annotations"] = [], []
    for image_id, copies in zip(found, weights):
        for _ in range(copies):
            new_id = len(repeated_found) + 1
            repeated_found[new_id] = found[image_id]
            repeated.dataset["images"].append(coco.loadImgs(image_id)[0] | {"id": new_id})
            for annotation in coco.loadAnns(coco.getAnnIds(image_id)):
                number = len(repeated.dataset["annotations"]) + 1
                repeated.dataset["annotations"].append(
                    annotation | {"id": number, "image_id": new_id}
                )
    repeated.createIndex()
    expected = average_precision(repeated, list(repeated_found), repeated_found, "bbox").values[
        "AP"
    ]
    matches = average_precision(coco, list(found), found, "bbox").matches
    assert bootstrap_average_precision(matches, weights[None])[0] == pytest.approx(
        expected, abs=1e-9
    )


def test_perfect_and_absent_detections(noisy_detections):
    coco, found = noisy_detections
    perfect = {
        i: [
            {"category_id": a["category_id"], "bbox": a["bbox"], "score": 1.0}
            for a in coco.loadAnns(coco.getAnnIds(i))
        ]
        for i in found
    }
    assert average_precision(coco, list(found), perfect, "bbox").values["AP"] == pytest.approx(100)
    nothing = average_precision(coco, list(found), {}, "bbox")
    assert nothing.values["AP"] == 0
    assert bootstrap_average_precision(nothing.matches, np.ones((2, len(found)))).tolist() == [0, 0]


def test_a_size_without_objects_has_no_figure(noisy_detections):
    coco, found = noisy_detections
    only_small = copy.deepcopy(coco)
    only_small.dataset["annotations"] = [
        a for a in coco.dataset["annotations"] if a["area"] < 32**2
    ]
    only_small.createIndex()
    values = average_precision(only_small, list(found), found, "bbox").values
    assert values["APl"] is None and values["APs"] > 0


def test_only_the_given_images_count(noisy_detections):
    coco, found = noisy_detections
    first = list(found)[:1]
    assert (
        average_precision(coco, first, found, "bbox").values
        == average_precision(coco, first, {first[0]: found[first[0]]}, "bbox").values
    )


def test_wrong_results_are_named(noisy_detections):
    coco, _ = noisy_detections
    with pytest.raises(DataError, match="lacks 'score'"):
        average_precision(coco, [1], {1: [{"category_id": 1, "bbox": [0, 0, 1, 1]}]}, "bbox")
    with pytest.warns(UserWarning, match=r"category ids \(91\).*none in common"):
        foreign = average_precision(
            coco, [1], {1: [{"category_id": 91, "bbox": [0, 0, 1, 1], "score": 1}]}, "bbox"
        )
    assert foreign.values["AP"] == 0
