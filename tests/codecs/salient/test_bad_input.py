"""Damaged and forged streams, weights of others: the matching error, soon, and no memory taken
first.
"""

import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.torch import save_file

from salcompress.codecs import load_codec
from salcompress.codecs.salient import WEIGHTS, SalientCodec
from salcompress.errors import (
    BitstreamError,
    DataError,
    ModelMismatchError,
    SettingError,
    TruncatedError,
)
from salcompress.models.weight_file import fingerprint, read_weight_file


def test_every_flipped_byte_and_every_truncation_of_a_small_stream(codec, picture):
    stream = codec.encode(np.ascontiguousarray(picture[:40, :40]))
    for position in range(len(stream)):
        damaged = bytearray(stream)
        damaged[position] ^= 0x40
        with pytest.raises(
            BitstreamError, match="checksum|damaged|not a .salc|out of range|made by model"
        ):
            codec.decode(bytes(damaged))
    for length in range(len(stream)):
        with pytest.raises(TruncatedError, match="ends within|holds"):
            codec.decode(stream[:length])


def test_random_mutations_of_a_larger_stream(codec, stream):
    rng = np.random.default_rng(0)
    slowest = 0.0
    for _ in range(int(os.environ.get("SALCOMPRESS_MUTATIONS", 60))):  # 2,000 take a minute or two
        damaged = bytearray(stream)
        for _ in range(int(rng.integers(1, 5))):
            damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        if bytes(damaged) == stream:
            continue
        started = time.monotonic()
        with pytest.raises(BitstreamError, match="."):
            codec.decode(bytes(damaged))
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 10  # against hanging; the figure itself belongs in the bench


def rewrite(path, change, with_digest=True):
    """The shipped weights with one thing changed, and a digest that fits where a forger would make
    one.
    """
    state, metadata, _ = read_weight_file(WEIGHTS, "a codec")
    change(state, metadata)
    if with_digest and "config" in metadata:
        metadata["digest"] = fingerprint(state, metadata["config"])
    save_file(state, path, metadata)
    return path


def test_streams_of_another_model(tmp_path, stream):
    other = rewrite(
        tmp_path / "o.safetensors", lambda state, _: state["synthesis.head.0.bias"].add_(0.5)
    )
    codec = SalientCodec(weights=other, device="cpu")
    made, there = codec.encode(np.zeros((9, 9, 3), np.uint8)), SalientCodec(device="cpu")
    message = (
        f"made by weights with fingerprint {codec.model_fingerprint.hex()}, and these are not "
        rf"among .*photo \({there.model_fingerprint.hex()}\).* in .*weights; give the weights "
        "that encoded it"
    )
    with pytest.raises(ModelMismatchError, match=message):
        there.decode(made)
    assert np.array_equal(codec.decode(stream), there.decode(stream))  # these are shipped
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(WEIGHTS.read_bytes())
    with pytest.raises(ModelMismatchError, match=r"among .*/copy.safetensors \([0-9a-f]{8}\) and "):
        SalientCodec(weights=copied, device="cpu").decode(made)
    assert load_codec(codec.label).fingerprint == codec.fingerprint and "weights=" in codec.setting


def test_bad_weights(tmp_path):
    cases = {
        "not finite": lambda state, _: state["synthesis.head.0.bias"].fill_(float("nan")),
        "out of bounds": lambda state, _: state["prior.refine.bias"].fill_(3e4),
        "does not give its known answer": lambda state, _: state["prior.refine.bias"].add_(1.0),
        "not a codec's": lambda _, metadata: metadata.clear() or metadata.update(other="x"),
        "does not fit": lambda state, _: state.pop("synthesis.head.0.bias"),
    }
    for message, change in cases.items():
        with pytest.raises(DataError, match=message):
            SalientCodec(weights=rewrite(tmp_path / "w.safetensors", change), device="cpu")
    for name in ("synthesis.tail.0.wide.weight", "analysis.stem.1.bias"):
        with pytest.raises(DataError, match="is damaged: its weights do not match their digest"):
            SalientCodec(
                weights=rewrite(
                    tmp_path / "w.safetensors",
                    lambda state, _: state[name].view(-1)[:1].add_(0.01),
                    False,
                ),
                device="cpu",
            )
    for value in ('"x"', "-4", "3.5", "200000", "6"):
        config = f'{{"prior_width": {value}}}'
        with pytest.raises(DataError, match="prior_width must be a multiple of 4 from 4 to 1024"):
            SalientCodec(
                weights=rewrite(tmp_path / "w.safetensors", lambda _, m: m.update(config=config)),
                device="cpu",
            )
    (tmp_path / "cut.safetensors").write_bytes(WEIGHTS.read_bytes()[:100_000])
    with pytest.raises(DataError, match="cut.safetensors: not a codec's weights file"):
        SalientCodec(weights=tmp_path / "cut.safetensors", device="cpu")


@pytest.mark.parametrize(
    "height, width, message",
    [
        (65535, 65535, "out of range: 65535x65535"),
        (1, 2**28, "out of range"),
        (2**28, 1, "out of range"),
        (1, 2**20, "checksum|damaged"),
        (8192, 8192, "checksum|damaged"),
    ],
)
def test_a_header_that_lies_about_its_size_costs_little(tmp_path, stream, height, width, message):
    """In a process of its own, whose peak of memory is nobody else's. 8192x8192 is the largest
    image, and takes gigabytes if it is real.
    """
    import struct
    import zlib

    # and no quality map
    packed = (
        stream[:5]
        + b"\0"
        + struct.pack("<II", height, width)
        + stream[14:15]
        + b"\0"
        + stream[16:32]
    )
    (tmp_path / "x.salc").write_bytes(packed + struct.pack("<I", zlib.crc32(packed)) + stream[36:])
    code = (
        "import sys, time, resource; from salcompress import load_codec, CorruptError\n"
        "c = load_codec('salient:device=cpu'); c.model; before = "
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; started = time.time()\n"
        "try: c.decode(open(sys.argv[1], 'rb').read())\n"
        "except CorruptError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.time() - started)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.salc")],
        capture_output=True,
        check=True,
        text=True,
    )
    assert re.search(message, run.stdout), run.stdout
    kib, seconds = map(float, run.stdout.splitlines()[-1].split())
    # under a second on a quiet machine; the bound is against hanging
    assert kib < 200_000 and seconds < 20


def test_too_large_an_image(codec):
    with pytest.raises(SettingError, match="more than the 67108864 pixels"):
        codec.encode(np.broadcast_to(np.uint8(0), (8193, 8192, 3)))
