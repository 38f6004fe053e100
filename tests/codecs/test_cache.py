"""The cache gives what the codec gives, whatever happens to its folder."""

import os
import subprocess
import sys

import pytest

from salcompress.codecs import CachedCodec, load_codec, with_cache
from salcompress.errors import OutputError, SettingError


def entries(folder):
    return sorted(folder.glob("??/[!.]*"))


def test_second_time_comes_from_the_cache(tmp_path, picture):
    codec = CachedCodec(load_codec("jpeg:q=40"), tmp_path)
    first = codec.encode(picture)
    assert first == load_codec("jpeg:q=40").encode(picture)
    again = CachedCodec(load_codec("jpeg:q=40"), tmp_path)
    assert again.encode(picture) == first
    assert (codec.hits, codec.misses, again.hits, again.misses) == (0, 1, 1, 0)


def test_content_shape_and_setting_make_the_key(tmp_path, picture):
    CachedCodec(load_codec("jpeg:q=40"), tmp_path).encode(picture)
    CachedCodec(load_codec("jpeg:q=41"), tmp_path).encode(picture)
    changed = picture.copy()
    changed[0, 0, 0] ^= 1
    CachedCodec(load_codec("jpeg:q=40"), tmp_path).encode(changed)
    turned = picture.reshape(
        picture.shape[1], picture.shape[0], 3
    )  # the same bytes in another shape
    CachedCodec(load_codec("jpeg:q=40"), tmp_path).encode(turned)
    assert len(entries(tmp_path)) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1],
        lambda b: b"",
        lambda b: b[:60] + bytes([b[60] ^ 1]) + b[61:],
        lambda b: b"x" * 9,
    ],
)
def test_damaged_entry_is_made_again(tmp_path, picture, damage):
    whole = CachedCodec(load_codec("jpeg:q=40"), tmp_path).encode(picture)
    (path,) = entries(tmp_path)
    good = path.read_bytes()
    path.write_bytes(damage(good))
    codec = CachedCodec(load_codec("jpeg:q=40"), tmp_path)
    assert codec.encode(picture) == whole and codec.misses == 1
    assert path.read_bytes() == good


def test_bound_drops_what_was_unused_longest(tmp_path, picture):
    size = len(load_codec("png").encode(picture))
    codec = CachedCodec(load_codec("png"), tmp_path, max_bytes=3 * size + 1000)
    images = [picture ^ k for k in range(5)]
    for image in images[:3]:
        codec.encode(image)
        for path in entries(tmp_path):  # a clock that does not depend on the file system's
            os.utime(path, ns=(path.stat().st_mtime_ns - 10**9,) * 2)
    codec.encode(images[0])  # used again
    codec.encode(images[3])
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= codec.max_bytes
    misses = codec.misses
    codec.encode(images[0])
    assert codec.misses == misses, "the entry used last was dropped"
    codec.encode(images[1])
    assert codec.misses == misses + 1, "the entry unused longest was kept"


def test_identity_is_not_cached(tmp_path):
    identity, jpeg = load_codec("none"), load_codec("jpeg")
    assert with_cache(identity, tmp_path) is identity and with_cache(jpeg, None) is jpeg
    assert isinstance(with_cache(jpeg, tmp_path), CachedCodec)


def test_a_cache_that_cannot_be_written_says_so(tmp_path, picture):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*file/.*choose another folder"):
        CachedCodec(load_codec("jpeg"), tmp_path / "file").encode(picture)


def test_several_processes_share_a_folder(tmp_path):
    code = f"""
import numpy as np, sys
from salcompress.codecs import CachedCodec, load_codec
codec = CachedCodec(load_codec("webp:q=20"), {str(tmp_path)!r}, max_bytes=3000)
for k in list(range(12)) * 2:
    image = np.random.default_rng(k).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert codec.encode(image) == load_codec("webp:q=20").encode(image)
"""
    runs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    assert not list(tmp_path.glob("??/.*")), "temporary files were left"


def test_wrong_bound(tmp_path):
    with pytest.raises(SettingError, match="max_bytes must be at least 1"):
        CachedCodec(load_codec("png"), tmp_path, max_bytes=0)
