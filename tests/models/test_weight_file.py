"""Laws of weight files: what they are known by is their content, and nothing wrong is loaded."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from salcompress.codecs.salient import WEIGHTS
from salcompress.errors import DataError, SettingError
from salcompress.files import digest
from salcompress.models.compression_model import (
    CompressionModel,
    ModelConfig,
    TrainedWith,
    load_model,
    save_model,
)
from salcompress.models.eight_bits import from_eight_bits, to_eight_bits
from salcompress.models.transforms import HyperAnalysis, ResidualBlock
from salcompress.models.weight_file import (
    fingerprint,
    load_tensors,
    read_tensors,
    read_weight_file,
    weight_file,
)

TENSORS = {"a": torch.tensor([0.5, 2.0]), "b": torch.tensor(3)}


def test_a_fingerprint_is_of_the_content(tmp_path):
    (tmp_path / "one").write_bytes(weight_file(TENSORS, config="x", note="first"))
    half = {"b": TENSORS["b"], "a": TENSORS["a"].half()}
    (tmp_path / "two").write_bytes(weight_file(half, config="x", note="second"))
    one, two = (read_weight_file(tmp_path / name, "a test") for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint == fingerprint(TENSORS, "x")
    assert one.metadata["note"] == "first"
    others = (
        fingerprint(TENSORS, "y"),
        fingerprint(TENSORS),
        fingerprint({"a": TENSORS["a"] + 1, "b": TENSORS["b"]}, "x"),
        fingerprint({"a": TENSORS["a"], "c": TENSORS["b"]}, "x"),
        fingerprint({"a": TENSORS["a"][None], "b": TENSORS["b"]}),
    )
    assert len({one.fingerprint, *others}) == 6


def test_files_of_before_there_was_one_reader_are_read(tmp_path):
    """A saliency network's and a training's digest were of the bytes as stored, and a metric's had
    no config.
    """
    half = {"a": TENSORS["a"].half()}
    stored = digest("x", "a", half["a"].numpy().tobytes())
    bare = digest("a", half["a"].float().numpy().tobytes())
    for number, metadata in enumerate(({"config": "x", "digest": stored}, {"digest": bare})):
        save_file(half, tmp_path / str(number), metadata)
        file = read_weight_file(tmp_path / str(number), "a test")
        assert file.fingerprint == fingerprint(half, metadata.get("config", ""))


def test_what_is_no_weight_file_of_ours_is_refused(tmp_path):
    with pytest.raises(SettingError, match="weights file .*absent does not exist"):
        read_weight_file(tmp_path / "absent", "a test")
    with pytest.raises(SettingError, match="is a folder, and a file is wanted"):
        read_tensors(tmp_path)
    for content in (b"", b"nothing of the kind", save(TENSORS), save(TENSORS, {"digest": ""})[:90]):
        (tmp_path / "w").write_bytes(content)
        with pytest.raises(DataError, match="w: not a test's weights file: .*choose one"):
            read_weight_file(tmp_path / "w", "a test")
    damaged = bytearray(weight_file(TENSORS))
    damaged[-1] ^= 1
    (tmp_path / "w").write_bytes(damaged)
    with pytest.raises(DataError, match="w is damaged: its weights do not match their digest"):
        read_weight_file(tmp_path / "w", "a test")


def test_every_damaged_byte_is_found(tmp_path):
    """The header's, the packed tensors' and those of the checksum."""
    whole = weight_file({"a": torch.linspace(-1, 1, 50).reshape(5, 10)}, {"a"}, config="x")
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / "w").write_bytes(damaged)
        with pytest.raises(DataError, match="w: not a test's weights file: |w is damaged: "):
            read_weight_file(tmp_path / "w", "a test")
    (tmp_path / "w.safetensors").write_bytes(whole[:-1] + b"?")
    with pytest.raises(DataError, match="w.safetensors: not a weights file: .*unpacked"):
        read_tensors(tmp_path / "w.safetensors")


def test_files_whose_tensors_are_not_packed_are_read(tmp_path):
    half = {"a": TENSORS["a"].half(), "b": TENSORS["b"]}
    save_file(half, tmp_path / "w", {"config": "x", "digest": fingerprint(half, "x")})
    file = read_weight_file(tmp_path / "w", "a test")
    assert file.tensors["a"].dtype == torch.float16
    assert file.fingerprint == fingerprint(TENSORS, "x")


def test_eight_bits_round_to_half_a_step_and_once_alone():
    """A step is in bfloat16, so it may be 1/512 smaller than the largest weight over 127 and cut a
    quarter of a step off that weight: less than rounding does.
    """
    generator = torch.Generator().manual_seed(0)
    for scale in (1.0, 1e-3, 1e-20, 1e-33, 0.0):
        weight = scale * torch.randn(64, 30, 1, 1, generator=generator)
        codes, steps = to_eight_bits(weight)
        rounded = from_eight_bits(codes, steps)
        assert codes.shape == weight.shape and steps.shape == (64,)
        limit = 0.5001 * steps.float()[:, None, None, None]
        assert ((rounded - weight).abs() <= limit).all()
        again = to_eight_bits(rounded)
        assert torch.equal(again[0], codes) and torch.equal(again[1], steps)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_eight_bits_do_not_hide_what_is_not_finite(value):
    weight = torch.ones(2, 3, 1, 1)
    weight[0, 1] = value
    rounded = from_eight_bits(*to_eight_bits(weight))
    assert torch.isnan(rounded[0]).all() and torch.isfinite(rounded[1]).all()


def test_a_file_in_8_bits_is_known_by_what_it_holds(tmp_path):
    weight, state = torch.randn(4, 50, 1, 1), torch.tensor([3, -4], dtype=torch.int8)
    (tmp_path / "w.safetensors").write_bytes(weight_file({"a": weight, "b": state}, {"a"}))
    file = read_weight_file(tmp_path / "w.safetensors", "a test")
    assert file.tensors.keys() == {"a", "b"} and torch.equal(file.tensors["b"], state)
    assert torch.equal(file.tensors["a"], from_eight_bits(*to_eight_bits(weight)))
    assert file.fingerprint == fingerprint(file.tensors)
    assert torch.equal(read_tensors(tmp_path / "w.safetensors")["a"], file.tensors["a"])


def test_a_model_is_saved_as_the_same_bytes_again(tmp_path):
    torch.manual_seed(0)
    model = CompressionModel(ModelConfig(16, 16, 16, 8, 16))
    for parameter in model.parameters():  # blocks start as zeros
        nn.init.normal_(parameter, std=0.1)
    model.prior.project()
    first = save_model(model)
    assert {save_model(model) for _ in range(5)} == {first}
    (tmp_path / "w").write_bytes(first)
    assert save_model(load_model(tmp_path / "w")[0]) == first


def test_a_codecs_file_keeps_in_8_bits_what_bears_it(tmp_path):
    """1x1 convolutions of residual blocks and around level 2. The picture's own way through the
    transforms is rounded to half precision, the prior not at all.
    """
    torch.manual_seed(0)
    model = CompressionModel(ModelConfig(16, 16, 16, 8, 16))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    model.prior.project()
    (tmp_path / "w").write_bytes(save_model(model))
    saved = load_model(tmp_path / "w")[0].state_dict()
    for name, value in model.state_dict().items():
        owner = model.get_submodule(name.partition(".weight")[0].rpartition(".")[0])
        around = isinstance(owner, ResidualBlock) or "hyper_analysis" in name
        pointwise = value.dim() == 4 and value.shape[2:] == (1, 1)
        if name.startswith("prior."):
            assert (saved[name] - value).abs().max() <= 0.5 / 2**5, name
        elif around and pointwise:
            assert torch.equal(saved[name], from_eight_bits(*to_eight_bits(value))), name
        else:
            assert torch.equal(saved[name], value.half().float()), name
    assert isinstance(model.hyper_analysis, HyperAnalysis)


def test_tensors_of_anyones_file(tmp_path):
    half = {"a": TENSORS["a"].half(), "b": TENSORS["b"]}
    save_file(half, tmp_path / "a.safetensors")
    torch.save(half, tmp_path / "b.pth")
    torch.save({"model": half, "iteration": 3}, tmp_path / "c.pth")
    for name in ("a.safetensors", "b.pth", "c.pth"):
        assert fingerprint(read_tensors(tmp_path / name)) == fingerprint(TENSORS)


def test_weights_that_do_not_fit_or_are_not_finite_are_refused():
    model = nn.Linear(2, 1)
    good = {"weight": torch.ones(1, 2), "bias": torch.ones(1)}
    for wrong in (
        {"weight": torch.ones(1, 2)},
        good | {"bias": torch.ones(2)},
        good | {"c": good["bias"]},
    ):
        with pytest.raises(DataError, match="w does not fit the model: "):
            load_tensors(model, wrong, "w")
    with pytest.raises(DataError, match="w holds weights that are not finite"):
        load_tensors(model, good | {"bias": torch.tensor([float("nan")])}, "w")


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_torchs_default_type_does_not_reach_weights(dtype):
    """Models that are made in bfloat16 would round what they are given a second time."""
    code = (
        f"import torch; torch.set_default_dtype(torch.{dtype})\n"
        "import numpy as np\n"
        "from salcompress import load_codec\n"
        "from salcompress.metrics.perceptual import perceptual_distance\n"
        "image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)\n"
        "codec = load_codec('salient:q=0.2,device=cpu')\n"
        "stream = codec.encode(image)\n"
        "print(hash(stream), perceptual_distance(image, codec.decode(stream)))"
    )
    told = []
    for text in (code, code.partition("\n")[2]):
        run = subprocess.run(
            [sys.executable, "-c", text],
            capture_output=True,
            check=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        told.append(run.stdout)
    assert told[0] == told[1]


def test_what_the_loss_weighed_is_kept_with_the_weights(tmp_path):
    config = ModelConfig(16, 16, 16, 8, 16)
    torch.manual_seed(0)
    model = CompressionModel(config, TrainedWith(saliency_weight=0.5, perceptual_weight=0.0))
    (tmp_path / "w").write_bytes(save_model(model))
    again, first_bytes = load_model(tmp_path / "w")
    assert again.trained_with == model.trained_with
    model.trained_with = TrainedWith()
    (tmp_path / "v").write_bytes(save_model(model))
    assert load_model(tmp_path / "v")[1] == first_bytes  # streams of one decode with the other
    assert load_model(WEIGHTS)[0].trained_with == TrainedWith(1.5, 200.0)  # the file does not say
    with pytest.raises(ValueError, match="perceptual_weight must be a number of at least 0"):
        TrainedWith(perceptual_weight=-1.0)
