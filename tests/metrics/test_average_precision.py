"""AP is pycocotools'; the bootstrap is what pycocotools would say of the resampled set."""

import copy
import json

import numpy as np
import pytest

from salcompress.data.coco import load_annotations
from salcompress.errors import DataError
from salcompress.metrics.average_precision import (
    average_precision,
    bootstrap_average_precision,
    has_masks,
)


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


def test_there_may_be_very_many_masks(noisy_detections):
    """pycocotools 2.0.11 stops at more than 255; copies of a detection come after it, and miss."""
    coco, found = noisy_detections
    image_id, first = next((i, detections[0]) for i, detections in found.items() if detections)
    one, many = ({image_id: [first] * count} for count in (1, 300))
    for kind in ("bbox", "segm"):
        expected = average_precision(coco, [image_id], one, kind).values
        assert average_precision(coco, [image_id], many, kind).values == expected


def test_wrong_results_are_named(noisy_detections):
    coco, _ = noisy_detections
    with pytest.raises(DataError, match="lacks 'score'"):
        average_precision(coco, [1], {1: [{"category_id": 1, "bbox": [0, 0, 1, 1]}]}, "bbox")
    with pytest.warns(UserWarning, match=r"category ids \(91\).*none in common"):
        foreign = average_precision(
            coco, [1], {1: [{"category_id": 91, "bbox": [0, 0, 1, 1], "score": 1}]}, "bbox"
        )
    assert foreign.values["AP"] == 0
    with pytest.raises(DataError, match="000001.png must have a finite score and bbox, got"):
        average_precision(
            coco, [1], {1: [{"category_id": 1, "bbox": [0, 0, 1, 1], "score": np.nan}]}, "bbox"
        )
    turned = {"size": [320, 240], "counts": "PPT2"}
    with pytest.raises(DataError, match=r"of the image's size, \[240, 320\] .* got \[320, 240\]"):
        average_precision(
            coco, [1], {1: [{"category_id": 1, "segmentation": turned, "score": 1}]}, "segm"
        )


def truth(coco):
    """What a detector that returns the annotations finds."""
    return {
        image_id: [
            {"score": 1.0} | {key: a[key] for key in ("category_id", "bbox", "segmentation")}
            for a in coco.imgToAnns[image_id]
        ]
        for image_id in coco.imgs
    }


def values(coco, found, kind):
    """The six figures; -100, as pycocotools has it, where there is none."""
    result = average_precision(coco, list(found), found, kind).values
    return [-100 if value is None else value for value in result.values()]


@pytest.fixture
def renumbered(scenes, tmp_path):
    """Annotations of the scenes, read from a file in which something was changed."""

    def read(change):
        content = json.loads(scenes.read_text())
        change(content)
        path = tmp_path / "instances.json"
        path.write_text(json.dumps(content))
        return load_annotations(path)[0]

    return read


def number_annotations(ids):
    def change(content):
        for number, annotation in enumerate(content["annotations"]):
            annotation["id"] = ids(number)

    return change


def map_ids(part, key, mapping):
    def change(content):
        for entry in content[part]:
            entry["id"] = mapping(entry["id"])
        for annotation in content["annotations"]:
            annotation[key] = mapping(annotation[key])

    return change


CHANGES = {
    "annotations from 0": number_annotations(lambda number: number),
    "annotations restart": number_annotations(lambda number: number % 3),
    "annotations all 0": number_annotations(lambda number: 0),
    "annotations by text": number_annotations(lambda number: f"object {number}"),
    "categories from 0": map_ids("categories", "category_id", lambda i: i - 1),
    "categories with gaps": map_ids(
        "categories", "category_id", lambda i: (40, 7, 90, 2, 61, 5)[i - 1]
    ),
    "images backwards": map_ids("images", "image_id", lambda i: 100 - i),
    "images from 0": map_ids("images", "image_id", lambda i: i - 1),
    "images by text": map_ids("images", "image_id", lambda i: f"../picture {7 * i % 5}{i}"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_truth_has_100_whatever_the_ids(renumbered, change, kind):
    coco = renumbered(change)
    found = truth(coco)
    assert [v for v in values(coco, found, kind) if v >= 0] == pytest.approx([100] * 5)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_renumbering_changes_no_figure(renumbered, change):
    """Also where detections of several images have one score, the order of which counts."""

    def tied(coco):
        rng = np.random.default_rng(5)
        found = truth(coco)
        categories = sorted(coco.cats, key=lambda i: coco.cats[i]["name"])
        for image_id in sorted(coco.imgs, key=lambda i: coco.imgs[i]["file_name"]):
            for detection in found[image_id] * 2:
                box = np.array(detection["bbox"]) + rng.normal(0, 4, 4)
                score, category = rng.integers(1, 4) / 4, categories[rng.integers(6)]
                found[image_id].append(
                    {"bbox": box.tolist(), "score": score, "category_id": category}
                )
                detection["score"] = 0.5
        return found

    plain, changed = renumbered(lambda content: None), renumbered(change)
    expected = values(plain, tied(plain), "bbox")
    assert 5 < expected[0] < 95
    assert values(changed, tied(changed), "bbox") == pytest.approx(expected, abs=1e-9)


def test_the_order_of_the_images_asked_for_is_free(noisy_detections):
    coco, found = noisy_detections
    ids = list(found)
    forward = average_precision(coco, ids, found, "bbox")
    backward = average_precision(coco, ids[::-1], found, "bbox")
    assert forward.values == backward.values
    weights = np.array([[2, 0, 1, 3, 1, 0]])  # by position among the ids
    assert bootstrap_average_precision(forward.matches, weights) == pytest.approx(
        bootstrap_average_precision(backward.matches, weights[:, ::-1])
    )


def test_it_is_what_pycocotools_says(noisy_detections):
    import contextlib
    import io

    from pycocotools.cocoeval import COCOeval

    coco, found = noisy_detections
    for kind, key in (("bbox", "bbox"), ("segm", "segmentation")):
        plain = copy.deepcopy(coco)
        with contextlib.redirect_stdout(io.StringIO()):
            results = plain.loadRes(
                [
                    {"image_id": i, "category_id": d["category_id"], "score": d["score"]}
                    | {key: copy.deepcopy(d[key])}
                    for i in found
                    for d in found[i]
                ]
            )
            evaluation = COCOeval(plain, results, kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        assert values(coco, found, kind) == [100 * v for v in evaluation.stats[:6]]


def test_measuring_leaves_annotations_and_detections_as_they_were(noisy_detections):
    coco, found = noisy_detections
    before = copy.deepcopy((coco.dataset, found))
    average_precision(coco, list(found), found, "segm")
    assert (coco.dataset, found) == before


def test_an_object_without_a_mask_is_passed_over_in_mask_ap_alone(renumbered):
    def change(content):
        content["annotations"][0]["segmentation"] = [[1, 2, 3, 4]]
        content["annotations"][-1]["segmentation"] = []

    with pytest.warns(UserWarning, match="cover no pixel"):
        coco = renumbered(change)
    assert has_masks(coco)
    masks = truth(renumbered(lambda content: None))  # finds the objects, masks and all
    with pytest.warns(UserWarning, match="2 of .* annotated objects have no mask"):
        assert values(coco, masks, "segm")[0] == pytest.approx(100)
    assert values(coco, masks, "bbox")[0] == pytest.approx(100)
    bare = renumbered(lambda content: [a.pop("segmentation") for a in content["annotations"]])
    assert not has_masks(bare)
    assert values(bare, masks, "segm")[0] == -100
