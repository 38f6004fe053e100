"""Specifications in one line."""

import pytest

from salcompress.errors import SettingError
from salcompress.spec import parse_spec, single_options


def test_parts():
    spec = parse_spec("torchvision:maskrcnn_resnet50_fpn,weights=a/b.pth")
    assert (spec.name, spec.argument, spec.options) == (
        "torchvision",
        "maskrcnn_resnet50_fpn",
        {"weights": ("a/b.pth",)},
    )
    assert parse_spec("jpeg:q=10,30,subsampling=444").options == {
        "q": ("10", "30"),
        "subsampling": ("444",),
    }
    assert parse_spec("none") == ("none", None, {})


@pytest.mark.parametrize("text", ["", ":q=3", "a:=3", "a:q=", "a:q=1,q=2", "a:b,c"])
def test_malformed(text):
    with pytest.raises(SettingError, match="name:option=value|not option=value"):
        parse_spec(text)


def test_single_options_name_what_is_valid():
    allowed = {"weights": "a file"}
    with pytest.raises(SettingError, match="no option 'w'; valid options: weights: a file"):
        single_options("a:w=1", parse_spec("a:w=1"), allowed)
    with pytest.raises(SettingError, match="takes one value, got 1, 2"):
        single_options("a:weights=1,2", parse_spec("a:weights=1,2"), allowed)
