"""An instances file is read for certain or not at all, and its ids change nothing."""

import copy
import json

import pytest
from PIL import Image

from salcompress.data.coco import load_annotations, load_dataset
from salcompress.data.instances_file import read_instances
from salcompress.errors import DataError

SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]


def content_with(**changes) -> dict:
    """Two images, two categories and three annotations; ``changes`` are those of the second."""
    annotation = {"image_id": 1, "category_id": 3, "bbox": [2, 1, 4, 3], "segmentation": [SQUARE]}
    annotations = [copy.deepcopy(annotation) | {"id": 11 * n} for n in (1, 2, 3)]
    annotations[1] |= changes
    return {
        "images": [
            {"id": n, "file_name": f"{n}.png", "height": 20, "width": 30, "license": 4}
            for n in (1, 2)
        ],
        "categories": [{"id": 3, "name": "thing"}, {"id": 5, "name": "other"}],
        "annotations": annotations,
    }


@pytest.fixture
def read(tmp_path):
    """Reads a content from a file."""

    def read_content(content):
        path = tmp_path / "instances.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_instances(path)[0]

    return read_content


@pytest.mark.parametrize("ids", [(0, 1, 2), (0, 0, 0), (1, 1, 2), ("a", "b", "c"), (None, 7, 7.5)])
def test_annotations_are_numbered_anew(read, ids):
    content = content_with()
    for annotation, given in zip(content["annotations"], ids):
        annotation["id"] = given
    assert [a["id"] for a in read(content)["annotations"]] == [1, 2, 3]
    for annotation in content["annotations"]:
        del annotation["id"]
    assert [a["id"] for a in read(content)["annotations"]] == [1, 2, 3]


@pytest.mark.parametrize(
    "changes",
    [
        {"area": None},
        {"area": "12"},
        {"iscrowd": None},
        {"iscrowd": "0"},
        {"iscrowd": False},
        {"bbox": ["2", "1.0", 4, "3e0"]},
        {"image_id": "1"},
        {"image_id": 1.0},
        {"category_id": "3"},
        {"segmentation": SQUARE},  # without the outer list
        {"segmentation": [[2, 1], [6, 1], [6, 4], [2, 4]]},  # points in pairs
        {"segmentation": [[[2, 1], [6, 1], [6, 4], [2, 4]]]},
        {"segmentation": [[str(v) for v in SQUARE]]},
        {"segmentation": [[1, 2, 3, 4], SQUARE]},  # two points are no polygon, nor a box
        {"segmentation": [[], SQUARE]},
    ],
)
def test_what_is_certain_is_read_as_what_it_means(read, changes):
    assert read(content_with(**changes)) == read(content_with())


@pytest.mark.parametrize("segmentation", [[[]], [[1, 2]], [[1, 2, 3, 4]], [[1, 2], [3, 4]], [1, 2]])
def test_a_polygon_of_no_area_costs_the_mask_alone(read, segmentation):
    with pytest.warns(UserWarning, match="segmentations of 1 annotations cover no pixel"):
        annotations = read(content_with(segmentation=segmentation))["annotations"]
    assert "segmentation" not in annotations[1] and "segmentation" in annotations[0]
    assert annotations[1]["bbox"] == [2, 1, 4, 3]


@pytest.mark.parametrize("segmentation", [None, [], {}])
def test_an_annotation_may_have_no_mask(read, segmentation, recwarn):
    annotations = read(content_with(segmentation=segmentation))["annotations"]
    assert "segmentation" not in annotations[1] and not recwarn


def test_what_others_leave_out_is_filled_in(read):
    content = read(content_with())
    assert content["annotations"][1]["area"] == 12 and content["annotations"][1]["iscrowd"] == 0
    assert content["info"] == {}  # without it pycocotools 2.0.10 stops
    assert content["images"][0]["license"] == 4  # what else is there stays


def test_numbers_as_text_and_a_number_as_name(read):
    content = content_with()
    content["images"][0] |= {"id": "1", "height": "20", "width": 30.0}
    content["categories"][0] |= {"id": "3", "name": 7}
    result = read(content)
    assert result["images"][0] == read(content_with())["images"][0]
    assert result["categories"][0] == {"id": 3, "name": "7"}


def test_where_one_image_id_is_text_all_are(read):
    content = content_with()
    content["images"][1]["id"] = "0002"
    content["annotations"][2]["image_id"] = "0002"
    result = read(content)
    assert [image["id"] for image in result["images"]] == ["1", "0002"]
    assert [a["image_id"] for a in result["annotations"]] == ["1", "1", "0002"]


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"area": [1600]}, "area must hold numbers, got"),
        ({"area": -1}, "area must be at least 0, got -1"),
        ({"area": "large"}, "area must hold numbers, got 'large'"),
        ({"iscrowd": 2}, "iscrowd must be 0 or 1, got 2"),
        ({"bbox": 3}, "bbox must be four numbers .*, got 3"),
        ({"bbox": [1, 2, 3]}, "bbox must be four numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox must hold finite numbers, got nan"),
        ({"bbox": [1, 2, None, 4]}, "bbox must hold numbers, got None"),
        ({"bbox": [1, 2, -3, 4]}, "width and height of bbox must be at least 0"),
        ({"category_id": 4}, "its category 4 is not among the categories"),
        ({"category_id": "cat"}, "category_id must hold numbers, got 'cat'"),
        ({"image_id": None}, "image_id must hold numbers, got None"),
        ({"segmentation": "mask.png"}, "segmentation must be polygons or run lengths"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "needs an y for each x, got 7 numbers"),
        ({"segmentation": [[1, 2, 3, None, 5, 6]]}, "coordinates must be finite numbers"),
        ({"segmentation": [[1, 2, 3, float("inf"), 5, 6]]}, "coordinates must be finite numbers"),
        ({"segmentation": [[1, 2, 3, 4e9, 5, 6]]}, "lies outside of any image"),
        ({"segmentation": [SQUARE, 7]}, "a polygon must be a list of coordinates, got 7"),
        ({"segmentation": {"size": [30, 20], "counts": [600]}}, r"must be .* \[20, 30\] .height"),
        ({"segmentation": {"size": [20, 30], "counts": [9]}}, "add up to the 600 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": [700, -100]}}, "add up to the 600 pixels"),
        ({"segmentation": {"size": [20, 30], "counts": 7}}, "run lengths must be text or whole"),
        ({"segmentation": {"size": [20, 30], "counts": "ab~"}}, "character of no meaning: '~'"),
        ({"segmentation": {"size": [20, 30], "counts": "ab"}}, "end within a number"),
        ({"segmentation": {"size": [20, 30], "counts": "12"}}, "add up to the 600 pixels"),
    ],
)
def test_what_is_not_certain_is_one_sentence_with_the_number(read, changes, why):
    with pytest.raises(DataError, match=rf"instances.json: annotation 2 \(its id: 22\): .*{why}"):
        read(content_with(**changes))


@pytest.mark.parametrize(
    "part, changes, why",
    [
        ("images", {"file_name": None}, "image 1: file_name must be the name of a file, got None"),
        ("images", {"height": None}, "image 1: height must hold numbers, got None"),
        ("images", {"height": 0}, "image 1: height must be at least 1 pixel, got 0"),
        ("images", {"width": 29.5}, "image 1: width must be a whole number, got 29.5"),
        ("images", {"id": None}, "image 1: id must hold numbers, got None"),
        ("images", {"id": 2}, "image 2 is listed twice"),
        ("images", {"id": "2"}, "image 2 is listed twice"),
        ("categories", {"id": 5}, "category 5 is listed twice"),
        ("categories", {"name": None}, "category 1 .its id: 3.: name must be text, got None"),
        ("categories", {"id": "thing"}, "category 1 .its id: 'thing'.: id must hold numbers"),
    ],
)
def test_images_and_categories_are_checked_too(read, part, changes, why):
    content = content_with()
    content[part][0] |= changes
    with pytest.raises(DataError, match=f"instances.json: {why}"):
        read(content)


@pytest.mark.parametrize(
    "text, why",
    [
        ("{", "not a json file"),
        ("[" * 100_000, "not a json file"),
        ("[]", "no list 'images'"),
        ('{"images": {}}', "no list 'images'"),
        ('{"images": [{"id": 1}]}', "image 1: it lacks file_name, height, width"),
        ('{"images": [7]}', "image 1: it must be an object"),
        ('{"images": []}', "no list 'categories'"),
        ('{"images": [], "categories": []}', "no list 'annotations'"),
        (
            '{"images": [], "categories": [], "annotations": [{"id": 1, "image_id": 1}]}',
            "annotation 1: it lacks category_id, bbox",
        ),
    ],
)
def test_what_is_no_instances_file_is_refused(read, text, why):
    with pytest.raises(DataError, match=f"instances.json: .*{why}"):
        read(text)


def test_annotations_of_images_that_are_not_listed(read):
    content = content_with(image_id=7)
    with pytest.warns(UserWarning, match="1 of 3 annotations are of images that it does not list"):
        assert [a["id"] for a in read(content)["annotations"]] == [1, 3]
    for annotation in content["annotations"]:
        annotation["image_id"] = f"{annotation['image_id']:06d}"  # the text is no number's own
    with pytest.raises(DataError, match="none of its annotations is of an image that it lists"):
        read(content)


def test_real_masks_keep_their_pixels(coco_val):
    """Run lengths, of crowds, and polygons are drawn as pycocotools draws them."""
    from pycocotools.coco import COCO

    plain = COCO(str(coco_val / "instances.json"))
    ours, _ = load_annotations(coco_val / "instances.json")
    for given, annotation in zip(plain.dataset["annotations"], ours.dataset["annotations"]):
        assert (plain.annToMask(given) == ours.annToMask(annotation)).all()


def test_a_data_set_without_any_annotation(tmp_path):
    Image.new("L", (30, 20)).save(tmp_path / "1.png")
    content = content_with() | {"annotations": []}
    del content["images"][1]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    assert load_dataset(tmp_path, tmp_path / "instances.json").coco.getAnnIds() == []
