"""Specifications in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salcompress.errors import SettingError
from salcompress.spec import parse_spec, quote_value, single_options


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


@pytest.mark.parametrize("text", ["", ":q=3", "a:=3", "a:q=", "a:q=1,q=2", "a:b,c", "a:q=1,''"])
def test_malformed(text):
    with pytest.raises(SettingError, match="name:option=value|not option=value"):
        parse_spec(text)


def test_single_options_name_what_is_valid():
    allowed = {"weights": "a file"}
    with pytest.raises(SettingError, match="no option 'w'; valid options: weights: a file"):
        single_options("a:w=1", parse_spec("a:w=1"), allowed)
    with pytest.raises(SettingError, match="takes one value, got 1, 2"):
        single_options("a:weights=1,2", parse_spec("a:weights=1,2"), allowed)


def test_quotes_protect_what_would_part_a_value():
    assert parse_spec("""a:weights="a,b=c.pth",q=1,'2,3'""").options == {
        "weights": ("a,b=c.pth",),
        "q": ("1", "2,3"),
    }
    assert parse_spec("file:'a,b.yaml',device=cpu") == ("file", "a,b.yaml", {"device": ("cpu",)})
    assert parse_spec("a:weights=o'neil.pth").options == {"weights": ("o'neil.pth",)}


@pytest.mark.parametrize("text", ["a:w='b", 'a:w="b,c', "a:w='b'c", "a:'b"])
def test_a_quote_that_is_not_closed(text):
    with pytest.raises(SettingError, match="is not closed, or text follows it"):
        parse_spec(text)


@given(st.text(st.sampled_from("ab,=:'\" \\/é"), min_size=1, max_size=8))
def test_a_quoted_value_comes_back(value):
    try:
        quoted = quote_value(value)
    except SettingError:
        assert "'" in value and '"' in value
        return
    assert parse_spec(f"a:w={quoted},q=1").options == {"w": (value,), "q": ("1",)}
    assert parse_spec(f"a:w=1,{quoted}").options["w"] == ("1", value)


@pytest.mark.parametrize("wrong", [None, 3, ["jpeg"], b"jpeg"])
def test_what_is_no_text(wrong):
    with pytest.raises(SettingError, match=f"text such as 'jpeg:q=30', got {type(wrong).__name__}"):
        parse_spec(wrong)


def test_an_empty_value_cannot_be_written():
    with pytest.raises(SettingError, match="empty value; leave the option out"):
        quote_value("")
