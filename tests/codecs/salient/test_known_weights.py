"""Weights that have a name, and streams of several weights."""

import itertools
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from salcompress.codecs import load_codec
from salcompress.codecs.salient import WEIGHTS, SalientCodec
from salcompress.codecs.salient.batched import BatchedCodec
from salcompress.codecs.salient.known_weights import (
    SHIPPED_FOLDER,
    find_weights,
    known_weights,
    name_of,
    weights_that_made,
)
from salcompress.codecs.stream_files import decode_files
from salcompress.codecs.stream_files.inputs import InputFile
from salcompress.data.scenes import make_scene
from salcompress.errors import DataError, ModelMismatchError, SettingError
from salcompress.image import read_image

OPTIONS = "q=0.3,saliency=uniform,device=cpu"
SIZES = ((64, 80), (33, 65), (64, 80), (1, 7))


@pytest.fixture
def mixed(known_second):
    """Two codecs, four images, and the stream of each image by each codec."""
    codecs = [load_codec(f"salient:{OPTIONS},weights={name}") for name in ("photo", "second")]
    images = [
        np.ascontiguousarray(make_scene(31, k, 64, 80).image[:height, :width])
        for k, (height, width) in enumerate(SIZES)
    ]
    pairs = list(itertools.product(images, codecs))
    return codecs, pairs, [codec.encode(image) for image, codec in pairs]


def test_what_is_shipped_is_known_by_the_names_of_its_files():
    """Of the files in the folder, those of codecs, whatever they are called."""
    known = known_weights()
    assert known["photo"].path == WEIGHTS == find_weights(None) == find_weights("photo")
    assert not {"saliency", "perceptual", "scene_detector"} & set(known)
    for weights in known.values():
        assert weights.path.parent == SHIPPED_FOLDER
        codec = SalientCodec(weights=weights.name, device="cpu")
        assert codec.weights == weights.path and codec.model_fingerprint == weights.fingerprint
        assert weights_that_made(weights.fingerprint) == weights


def test_a_file_that_is_added_needs_no_other_entry(known_second):
    codec = load_codec(f"salient:{OPTIONS},weights=second")
    assert codec.weights == known_second
    assert codec.label == "salient:q=0.3,saliency=uniform,weights=second"
    assert load_codec(codec.label).fingerprint == codec.fingerprint
    by_path = load_codec(f"salient:{OPTIONS},weights={known_second}")
    assert (by_path.label, by_path.fingerprint) == (codec.label, codec.fingerprint)
    photo = load_codec(f"salient:{OPTIONS}")
    assert photo.label == load_codec(f"salient:{OPTIONS},weights=photo").label
    assert photo.with_weights("second").fingerprint == codec.fingerprint != photo.fingerprint


def test_a_name_that_is_not_there_says_what_is(tmp_path, monkeypatch):
    monkeypatch.setenv("SALCOMPRESS_WEIGHTS", f"{tmp_path}{os.pathsep}{tmp_path / 'gone'}")
    message = (
        r"weights 'nobody' are not there: no file is called so.*photo \([0-9a-f]{8}\).* in "
        rf".*weights, none in {tmp_path}, none in {tmp_path}/gone \(no such folder\); .*"
        r"name the folder of nobody.safetensors in SALCOMPRESS_WEIGHTS"
    )
    with pytest.raises(SettingError, match=message):
        load_codec("salient:weights=nobody")
    with pytest.raises(SettingError, match="weights file no/body does not exist"):
        load_codec("salient:weights=no/body")


def test_names_and_paths_are_told_apart(known_second, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(known_second, "photo")
    shutil.copy(known_second, "own")
    second = find_weights("second")
    assert find_weights("photo") == WEIGHTS
    for path in ("./photo", "own", str(tmp_path / "photo")):
        assert (
            SalientCodec(weights=path).model_fingerprint
            == SalientCodec(weights=second).model_fingerprint
        )
    assert name_of(second) == "second" and name_of(tmp_path / "second.safetensors") != "second"


def test_files_of_others_and_damaged_ones_are_passed_over(tmp_path, second_weights, monkeypatch):
    monkeypatch.setenv("SALCOMPRESS_WEIGHTS", str(tmp_path))
    (tmp_path / "cut.safetensors").write_bytes(second_weights.read_bytes()[:100])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "folder.safetensors").mkdir()
    shutil.copy(SHIPPED_FOLDER / "saliency.safetensors", tmp_path)
    shutil.copy(second_weights, tmp_path / "photo.safetensors")  # the shipped one comes first
    shutil.copy(second_weights, tmp_path / "b.safetensors")
    known = known_weights()
    assert {w.name for w in known.values() if w.path.parent == tmp_path} == {"b"}
    (tmp_path / "b.safetensors").write_bytes(WEIGHTS.read_bytes())  # which is read anew
    assert known_weights()["b"].fingerprint == known["photo"].fingerprint


def test_weights_that_are_not_what_their_header_says_decode_nothing(
    tmp_path, second_weights, monkeypatch
):
    codec = load_codec(f"salient:{OPTIONS},weights={second_weights}")
    stream = codec.encode(np.zeros((9, 9, 3), np.uint8))
    damaged = bytearray(second_weights.read_bytes())
    damaged[-1] ^= 0x3C
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    monkeypatch.setenv("SALCOMPRESS_WEIGHTS", str(tmp_path))
    with pytest.raises(DataError, match="damaged.safetensors is damaged: its weights do not match"):
        load_codec(f"salient:{OPTIONS}").decode(stream)


def test_fingerprints_are_read_without_torch(known_second):
    code = (
        "import sys; from salcompress.codecs.salient.known_weights import known_weights; "
        "print(*known_weights()); assert 'torch' not in sys.modules"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert {"photo", "second"} <= set(printed.split())


def test_streams_of_several_weights_decode_together_as_if_alone(mixed):
    codecs, pairs, streams = mixed
    for codec in (*codecs, pickle.loads(pickle.dumps(codecs[0]))):
        for (image, made_by), ours, stream in zip(pairs, codec.decode_batch(streams), streams):
            assert ours.shape == image.shape
            # batches of a float synthesis may differ by one grey level
            assert np.abs(ours.astype(int) - made_by.decode(stream)).max() <= 1
    batched = BatchedCodec(codecs[0]).decode(streams)
    for (_, made_by), ours, stream in zip(pairs, batched, streams):
        assert ours.dtype == torch.uint8
        difference = np.abs(ours.permute(1, 2, 0).numpy().astype(int) - made_by.decode(stream))
        assert difference.max() <= 1


def test_weights_are_loaded_once_for_all_streams(mixed):
    (photo, second), _, streams = mixed
    photo.decode_batch(streams)
    found = photo.decoder_of(second.model_fingerprint)
    assert found is photo.with_quality(0.9).decoder_of(second.model_fingerprint)
    assert found.model is second.model and photo.decoder_of(photo.model_fingerprint) is photo


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_of_mixed_streams(mixed, tmp_path, workers):
    codecs, pairs, streams = mixed
    files = []
    for k, stream in enumerate(streams):
        path = tmp_path / f"{k}.salc"
        path.write_bytes(stream)
        files.append(InputFile(path, path.relative_to(tmp_path)))
    outcome = decode_files(files, codecs[0], tmp_path / "out", workers=workers)
    for (_, made_by), stream, path in zip(pairs, streams, outcome.done, strict=True):
        assert np.abs(read_image(path).astype(int) - made_by.decode(stream)).max() <= 1


def test_streams_of_unknown_weights_among_known_ones(mixed, monkeypatch):
    (_, second), _, streams = mixed
    monkeypatch.delenv("SALCOMPRESS_WEIGHTS")
    made_by = second.model_fingerprint.hex()
    with pytest.raises(ModelMismatchError, match=f"weights with fingerprint {made_by}, and these"):
        load_codec(f"salient:{OPTIONS}").decode_batch(streams)
    with pytest.raises(DataError, match=f"x.png: the stream was made by .*{made_by}"):
        BatchedCodec(load_codec(f"salient:{OPTIONS}")).decode(streams[1:2], ["x.png"])


def test_maps_are_those_of_the_weights_that_made_the_stream(mixed):
    (photo, second), pairs, streams = mixed
    image = pairs[1][0]
    ours, theirs = photo.maps(image, streams[1]), second.maps(image, streams[1])
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs))
