"""Hits, misses and false finds of one picture."""

import pytest

from salcompress.metrics.finds import match

CAT = {"bbox": [0, 0, 10, 10], "category_id": 1, "iscrowd": 0}
DOG = {"bbox": [20, 0, 10, 10], "category_id": 2, "iscrowd": 0}
CROWD = {"bbox": [40, 0, 40, 40], "category_id": 1, "iscrowd": 1}


def detection(thing, score=0.9, **changes):
    return thing | {"score": score} | changes


def test_each_object_is_found_once_by_the_surest_detection():
    finds = match([CAT, DOG], [detection(CAT, 0.5), detection(CAT, 0.8), detection(DOG, 0.7)])
    assert [d["score"] for d in finds.detections] == [0.8, 0.7, 0.5]
    assert finds.found == (0, 1, None) and finds.num_false == 1 and finds.hits == {0, 1}


@pytest.mark.parametrize(
    "wrong",
    [{"category_id": 2}, {"bbox": [6, 0, 10, 10]}, {"score": 0.29}],
    ids=["category", "place", "score"],
)
def test_what_is_no_hit(wrong):
    assert not match([CAT], [detection(CAT, **wrong)]).hits


def test_a_detection_in_a_crowd_is_neither_hit_nor_false():
    inside = detection(CROWD, bbox=[45, 5, 10, 10])
    assert match([CAT, CROWD], [inside]).found == ()
    assert match([CAT, CROWD], [detection(CAT), inside]).found == (0,)


def test_nothing_there_and_nothing_found():
    assert match([], []).found == () and match([], [detection(CAT)]).found == (None,)
