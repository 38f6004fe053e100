"""Saliency maps, classical and by the shipped network, and the network's weight file."""

import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from safetensors.torch import save

from salcompress.cli.main import main
from salcompress.data.scenes import make_scene
from salcompress.errors import DataError, SettingError
from salcompress.image import encode_image, read_image, to_tensor
from salcompress.metrics.saliency_scores import mean_scores, score_saliency
from salcompress.models.weight_file import read_weight_file, weight_file
from salcompress.saliency.functions import (
    NETWORK_WEIGHTS,
    SALIENCY,
    NetworkSaliency,
    classical_saliency,
    network_saliency,
)
from salcompress.saliency.network import (
    SaliencyNet,
    load_saliency_network,
    save_saliency_network,
)
from tests.conftest import SHARED


def test_an_object_of_another_colour_is_salient():
    image = np.full((80, 100, 3), (60, 120, 60), np.uint8)
    image[20:40, 30:60] = (200, 40, 40)
    saliency = classical_saliency(image)
    assert saliency.shape == (80, 100) and saliency.dtype == np.float32
    assert saliency.max() == 1 and saliency.min() >= 0
    assert saliency[25:35, 35:55].min() > 3 * saliency[60:, 70:].max()


@pytest.mark.parametrize("name", SALIENCY)
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (63, 65), (1, 2000), (700, 3)])
def test_any_size_gives_a_map_in_range(name, shape):
    saliency = SALIENCY[name](
        np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    )
    assert (
        saliency.shape == shape
        and saliency.dtype == np.float32
        and saliency.min() >= 0
        and saliency.max() <= 1
    )


@pytest.mark.parametrize("name", SALIENCY)
def test_one_colour(name):
    saliency = SALIENCY[name](np.full((90, 70, 3), 99, np.uint8))
    assert saliency.shape == (90, 70) and np.all((saliency >= 0) & (saliency <= 1))
    # a network has learned that pictures have an object, and guesses where
    assert name == "network" or not saliency.any()


@pytest.mark.parametrize("name", SALIENCY)
def test_what_is_no_image(name):
    with pytest.raises(SettingError, match="image must be a uint8 array"):
        SALIENCY[name](np.zeros((4, 4)))
    with pytest.raises(SettingError, match="at least one pixel"):
        SALIENCY[name](np.zeros((0, 4, 3), np.uint8))


def test_the_network_is_deterministic_and_scale_hardly_matters(picture):
    first = network_saliency(picture)
    assert np.array_equal(first, network_saliency(picture))
    larger = network_saliency(np.repeat(np.repeat(picture, 3, 0), 3, 1))
    # resampled by other ways, so not the same
    assert np.abs(larger[1::3, 1::3] - first).mean() < 0.05


def test_the_network_beats_the_classical_map_on_drawn_scenes():
    """Neither has seen such drawings: this holds the shipped file to being a saliency network at
    all. Held-out figures on photographs are in the card; they come from networks trained by folds,
    and the shipped one has seen all of those pairs."""
    scenes = [make_scene(61, k) for k in range(12)]
    masks = [np.any([found.mask for found in scene.objects], 0) for scene in scenes]
    network, classical = (
        mean_scores(
            [
                score_saliency(SALIENCY[name](scene.image), mask)
                for scene, mask in zip(scenes, masks)
            ]
        )
        for name in ("network", "classical")
    )
    assert network.mae < classical.mae and network.s_measure > classical.s_measure


def test_the_shipped_network_on_the_pairs_that_made_it():
    """A sanity check of the file and nothing more: these pairs trained it."""
    folder = SHARED / "data" / "saliency"
    if not folder.is_dir():
        pytest.skip("needs shared/data/saliency beside the checkout")
    paths = sorted((folder / "images").iterdir())[::10]
    scores = {
        name: mean_scores(
            [
                score_saliency(
                    SALIENCY[name](read_image(path)),
                    read_image(folder / "masks" / f"{path.stem}.png")[:, :, 0] > 127,
                )
                for path in paths
            ]
        )
        for name in ("network", "classical")
    }
    assert (
        scores["network"].f_beta > scores["classical"].f_beta + 0.2
        and scores["network"].mae < scores["classical"].mae - 0.1
    )


def test_it_works_in_another_process(picture):
    function = pickle.loads(pickle.dumps(NetworkSaliency()))
    assert function.weights == NETWORK_WEIGHTS and function.device == "cpu"
    small = picture[:50, :60]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        there = pool.submit(network_saliency, small).result()
    # threads may differ there, and sums with them
    assert np.allclose(there, network_saliency(small), atol=1e-5)


def test_importing_the_functions_needs_no_torch():
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, salcompress.saliency.functions; assert 'torch' not in sys.modules",
        ],
        check=True,
    )


def test_network_outputs_at_all_depths():
    model = SaliencyNet().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) < 1_000_000
    output = model(torch.rand(2, 3, 70, 101))
    assert [tuple(side.shape[2:]) for side in output.sides] == [(3, 4), (5, 7), (9, 13), (18, 26)]
    assert output.fused.shape == (2, 1, 18, 26)
    saliency = model.saliency(torch.rand(2, 3, 70, 101))
    assert saliency.shape == (2, 1, 70, 101) and saliency.min() >= 0 and saliency.max() <= 1


def test_an_image_is_seen_alike_alone_and_in_a_batch(picture):
    model = load_saliency_network(NETWORK_WEIGHTS)
    batch = torch.cat([to_tensor(picture[:96, :128]), to_tensor(picture[100:196, 100:228])])
    assert torch.allclose(model.saliency(batch)[1:], model.saliency(batch[1:]), atol=1e-5)


@pytest.fixture(scope="module")
def weights() -> bytes:
    return save_saliency_network(SaliencyNet())


def test_saved_weights_come_back(weights, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(weights)
    assert len(weights) < 2e6
    model = load_saliency_network(tmp_path / "w.safetensors")
    assert not model.training and save_saliency_network(model) == weights


def test_bad_weight_files(weights, tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(SettingError, match="w.safetensors does not exist"):
        NetworkSaliency(path)(np.zeros((4, 4, 3), np.uint8))
    for content in (b"", b"no weights", weights[:-100], save({"a": torch.zeros(1)})):
        path.write_bytes(content)
        with pytest.raises(DataError, match="w.safetensors: not a saliency network's weights file"):
            load_saliency_network(path)
    damaged = bytearray(weights)
    damaged[-1000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="is damaged: its weights do not match their digest"):
        load_saliency_network(path)
    path.write_bytes(weights)
    tensors = read_weight_file(path, "a saliency network").tensors
    path.write_bytes(weight_file(tensors, config="{}"))
    with pytest.raises(DataError, match="is of another network: {}"):
        load_saliency_network(path)
    spoilt = SaliencyNet()
    with torch.no_grad():
        spoilt.fusion.bias.fill_(float("nan"))
    path.write_bytes(save_saliency_network(spoilt))
    with pytest.raises(DataError, match="not finite"):
        load_saliency_network(path)


def test_a_device_that_is_not_there(weights, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(weights)
    with pytest.raises(SettingError, match="device 'gpu' cannot be used here"):
        NetworkSaliency(tmp_path / "w.safetensors", "gpu")(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("method", SALIENCY)
def test_command_line(method, picture, tmp_path, capsys):
    (tmp_path / "image.png").write_bytes(encode_image(picture, "PNG"))
    assert (
        main(
            [
                "saliency",
                str(tmp_path / "image.png"),
                str(tmp_path / "new" / "map.png"),
                "--method",
                method,
            ]
        )
        == 0
    )
    assert "251x203 pixels" in capsys.readouterr().out
    written = read_image(tmp_path / "new" / "map.png")
    assert np.abs(written[:, :, 0] / 255 - SALIENCY[method](picture)).max() <= 0.51 / 255
    assert np.array_equal(written[:, :, 0], written[:, :, 2])


def test_command_line_errors(tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no image")
    for arguments, code, message in (
        (["nowhere.png", "map.png"], 2, "nowhere.png is not a file"),
        ([str(tmp_path), "map.png"], 2, "is not a file"),
        ([str(tmp_path / "bad.png"), "map.png"], 1, "bad.png: not an image"),
        ([str(tmp_path / "bad.png"), "map.jpg"], 2, "must end in .png; got map.jpg"),
    ):
        assert main(["saliency", *arguments]) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("salcompress: ") and message in line
