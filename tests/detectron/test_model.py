"""The codec in the model: what learns, what is returned, what a checkpoint and an exported codec
hold.
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("detectron2", reason="Detectron2 is not installed: see the README")
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from salcompress.codecs import load_codec
from salcompress.codecs.salient import SalientCodec
from salcompress.detectron.config import load_config
from salcompress.detectron.model import CompressedDetector
from salcompress.detectron.optimizer import ClippedAdamW
from salcompress.detectron.original_mapper import OriginalImageMapper
from salcompress.detectron.training_settings import LossWeights, QualitySchedule
from salcompress.errors import DataError, SettingError
from salcompress.models.compression_model import CONFIGS, CompressionModel, ModelConfig, save_model

CONFIG = Path(__file__).parents[2] / "detectron_configs" / "scenes_mask_rcnn.yaml"
UNIFORM = "salient:q=0.3,saliency=uniform,device=cpu"


@pytest.fixture(scope="module")
def slim():
    """A Mask R-CNN of one's own making, untrained."""
    torch.manual_seed(1)
    return build_model(load_config(str(CONFIG)))


@pytest.fixture(scope="module")
def entries(scenes):
    return load_coco_json(str(scenes), str(scenes.parent / "images"))


@pytest.fixture
def batch(entries):
    """Two pictures with their annotations, of different sizes as the detector sees them."""
    torch.manual_seed(2)
    np.random.seed(2)
    mapper = OriginalImageMapper(
        True,
        augmentations=[T.ResizeShortestEdge([96, 128], 200, "choice"), T.RandomFlip()],
        image_format="BGR",
        use_instance_mask=True,
    )
    return [mapper(dict(entry)) for entry in entries[:2]]


@pytest.fixture(autouse=True)
def storage():
    """Detectron2's detectors log into one while they train."""
    with EventStorage() as storage:
        yield storage


class Recorder(nn.Module):
    """Keeps what it is given; its loss is how dark that is."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, inputs):
        self.seen = [x["image"] for x in inputs]
        return (
            {"loss_dark": sum(-x.float().mean() for x in self.seen) * self.weight}
            if self.training
            else [{} for _ in inputs]
        )


@pytest.mark.parametrize("trains", ["codec", "detector", "both"])
def test_gradients_reach_exactly_what_the_mode_names(slim, batch, trains):
    model = CompressedDetector(
        copy.deepcopy(slim),
        UNIFORM,
        trains=trains,
        weights=LossWeights(perceptual=100.0, distillation=1.0),
    ).train()
    before = {name: value.clone() for name, value in model.detector.named_buffers()}
    losses = model(batch)
    sum(losses.values()).backward()
    reached = {
        name.split(".")[0]
        for name, p in model.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert reached == {"codec", "detector"} if trains == "both" else reached == {trains}
    if trains != "detector":
        assert {"loss_rate", "loss_distortion", "loss_perceptual", "loss_distillation"} <= set(
            losses
        )
        without = [name for name, p in model.codec.named_parameters() if p.grad is None]
        assert not without  # DistributedDataParallel wants them all
    if trains == "codec":  # not by running statistics either
        assert all(
            torch.equal(value, before[name]) for name, value in model.detector.named_buffers()
        )
    assert {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"} <= set(losses)


def test_a_step_lowers_the_loss_of_what_it_trains(batch):
    """End to end by the optimizer: the codec learns to brighten pictures for a detector that wants
    them so.
    """
    model = CompressedDetector(
        Recorder(),
        UNIFORM,
        weights=LossWeights(distortion=0.0, rate=0.0, task=10.0),
        quality=(0.3, 0.3, 0.3, 0.3, 0),
        mixed_precision=False,
    ).train()
    optimizer = ClippedAdamW(model, codec_lr=1e-4)
    found = []
    for _ in range(4):
        optimizer.zero_grad()
        losses = model(batch)
        found.append(losses["loss_dark"].item())
        sum(losses.values()).backward()
        optimizer.step()
    assert found == sorted(found, reverse=True) and found[-1] < found[0] - 1


@pytest.mark.parametrize("image_format", ["BGR", "RGB"])
def test_at_test_the_detector_sees_what_a_stream_of_the_exported_codec_decodes_to(
    entries, tmp_path, image_format
):
    mapper = OriginalImageMapper(False, augmentations=[], image_format=image_format)
    model = CompressedDetector(Recorder(), UNIFORM, image_format=image_format)
    with torch.no_grad():
        model.codec.networks.synthesis.tail[-2].bias += 0.02  # no more the shipped weights
    inputs = [mapper(dict(entry)) for entry in entries[:2]]
    model.eval()(inputs)
    model.codec.export(tmp_path / "codec.safetensors")
    codec = load_codec(
        f"salient:weights={tmp_path / 'codec.safetensors'},q=0.3,saliency=uniform,device=cpu"
    )
    for x, seen in zip(inputs, model.detector.seen):
        original = np.ascontiguousarray(
            x["image"].permute(1, 2, 0).numpy()[:, :, :: -1 if image_format == "BGR" else 1]
        )
        stream = codec.encode(original)
        expected = codec.decode(stream)[:, :, :: -1 if image_format == "BGR" else 1]
        assert (
            np.abs(expected.astype(int) - seen.permute(1, 2, 0).numpy()).max() <= 1
        )  # the networks are float
        assert (
            abs(x["num_bits"] - 8 * len(stream)) <= 64
            and x["bpp"] == x["num_bits"] / original[..., 0].size
        )
        assert not np.array_equal(
            load_codec(UNIFORM).decode(load_codec(UNIFORM).encode(original)), codec.decode(stream)
        )


def test_estimates_of_training_are_close_to_streams(batch, storage):
    model = CompressedDetector(
        Recorder(), UNIFORM, quality=(0.3, 0.3, 0.3, 0.3, 0), mixed_precision=False
    ).train()
    model(batch)
    estimated = storage.latest()["salcompress/estimated_bpp"][0]
    codec = load_codec(UNIFORM)
    originals = [
        np.ascontiguousarray(x["image"].permute(1, 2, 0).numpy()[:, :, ::-1]) for x in batch
    ]
    real = sum(8 * (len(codec.encode(o)) - 36) for o in originals) / sum(
        o[..., 0].size for o in originals
    )  # less the header
    assert estimated == pytest.approx(
        real, rel=0.02
    )  # weights of half precision, a quality map, the coder's last words
    after = [x.detach() for x in model.detector.seen]
    decoded = [codec.reconstruct(o).image for o in originals]
    for seen, x, picture in zip(after, batch, decoded):
        expected = x["transforms"].apply_image(picture)[:, :, ::-1]
        assert (
            np.abs(seen.permute(1, 2, 0).numpy() - expected).mean() < 1
        )  # half a grey level of rounding, and Pillow's own


def test_images_that_a_stock_mapper_resized_are_coded_as_they_come(picture):
    x = {"image": torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float()}
    model = CompressedDetector(Recorder(), UNIFORM).eval()
    model([x])
    assert (
        model.detector.seen[0].shape == x["image"].shape
        and x["num_bits"] == load_codec(UNIFORM).reconstruct(picture[:, :, ::-1].copy()).num_bits
    )


def test_gains_have_a_learning_rate_of_their_own(slim):
    model = CompressedDetector(copy.deepcopy(slim), UNIFORM)
    networks = model.codec.networks
    groups = ClippedAdamW(model, codec_lr=1e-4, gain_lr=1e-3).param_groups
    rate_of = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    assert len(rate_of) == sum(len(group["params"]) for group in groups)
    assert set(rate_of) == set(networks.parameters())
    assert {name for name, value in networks.named_parameters() if rate_of[value] == 1e-3} == {
        f"{level}_gain{back}.log2_gain" for level in ("feature", "latent") for back in ("", "_back")
    }


def test_features_teach_without_labels(slim, batch):
    model = CompressedDetector(
        copy.deepcopy(slim),
        UNIFORM,
        labels=False,
        weights=LossWeights(distillation=2.0),
        distilled_features=["p2", "p4"],
    ).train()
    unlabelled = [{key: value for key, value in x.items() if key != "instances"} for x in batch]
    losses = model(unlabelled)
    assert (
        set(losses) == {"loss_rate", "loss_distortion", "loss_distillation"}
        and 0 < losses["loss_distillation"] < 2
    )
    losses["loss_distillation"].backward()
    assert model.codec.networks.analysis.stem[1].weight.grad.abs().sum() > 0
    with pytest.raises(SettingError, match="gives p2, p3, p4, p5, p6, and no 'res9' to distil"):
        CompressedDetector(
            copy.deepcopy(slim),
            UNIFORM,
            weights=LossWeights(distillation=1.0),
            distilled_features=["res9"],
        ).train()(batch)


def test_modules_within_the_backbone_teach(slim, batch):
    def distance(*names):
        torch.manual_seed(1)
        model = CompressedDetector(
            copy.deepcopy(slim),
            UNIFORM,
            labels=False,
            weights=LossWeights(distillation=1.0),
            distilled_features=names,
        ).train()
        return model(batch)["loss_distillation"].item()

    both = distance("p2", "bottom_up.stem")
    assert both == pytest.approx((distance("p2") + distance("bottom_up.stem")) / 2, rel=1e-4)


def test_what_the_task_is_worth_grows_with_quality(batch):
    def gradient(quality):
        model = CompressedDetector(
            Recorder(),
            UNIFORM,
            weights=LossWeights(rate=0.0, distortion=0.0, task=2.0),
            quality=(quality, quality) * 2 + (0,),
            mixed_precision=False,
        ).train()
        model(batch)["loss_dark"].backward()
        assert model.detector.weight.grad is None  # frozen
        return model.codec.networks.synthesis.tail[-2].bias.grad.norm().item()

    # d(picture) / d(bias) is the same at all qualities but where pictures clamp: the square root of
    # lambda's ratio is left
    assert gradient(0.5) / gradient(0.25) == pytest.approx((0.08 / 0.00025) ** (0.25 / 2), rel=0.1)


def test_the_quality_schedule_moves_and_stays():
    schedule = QualitySchedule(0.0, 0.4, 0.6, 1.0, 100)
    assert (
        schedule.range_at(0) == (0.6, 1.0)
        and schedule.range_at(50) == pytest.approx((0.3, 0.7))
        and schedule.range_at(1000) == (0.0, 0.4)
    )
    assert QualitySchedule(0.1, 0.2).range_at(0) == (0.1, 0.2)


def test_checkpoints_hold_codec_detector_optimizer_and_schedule(slim, batch, tmp_path):
    def build():
        model = CompressedDetector(
            copy.deepcopy(slim), UNIFORM, trains="both", quality=(0.0, 0.4, 0.6, 1.0, 4)
        ).train()
        optimizer = ClippedAdamW(model, codec_lr=1e-4, detector_lr=1e-3)
        return model, optimizer, DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer)

    def steps(model, optimizer, first, last):
        for k in range(first, last):
            torch.manual_seed(k)
            np.random.seed(k)
            with EventStorage(k):
                losses = model(batch)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            assert model.iteration == k + 1  # the schedule is where the training is, resumed or not

    model, optimizer, checkpointer = build()
    steps(model, optimizer, 0, 2)
    checkpointer.save("middle")
    steps(model, optimizer, 2, 3)
    resumed, its_optimizer, its_checkpointer = build()
    its_checkpointer.resume_or_load("", resume=True)
    steps(resumed, its_optimizer, 2, 3)
    for (name, ours), theirs in zip(model.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(ours, theirs), name  # the unbroken run's weights, bit by bit


def test_checkpoints_of_the_detector_alone_and_of_other_codecs(slim, tmp_path):
    other = copy.deepcopy(slim)
    with torch.no_grad():
        other.roi_heads.box_predictor.cls_score.bias += 1
    torch.save({"model": other.state_dict()}, tmp_path / "detector.pth")
    model = CompressedDetector(copy.deepcopy(slim), UNIFORM)
    before = copy.deepcopy(model.codec.state_dict())
    DetectionCheckpointer(model).load(str(tmp_path / "detector.pth"))
    assert torch.equal(
        model.detector.roi_heads.box_predictor.cls_score.bias,
        other.roi_heads.box_predictor.cls_score.bias,
    )
    assert all(torch.equal(value, before[name]) for name, value in model.codec.state_dict().items())
    assert CONFIGS["small"] != ModelConfig(16, 16, 16, 8, 16)
    (tmp_path / "tiny.safetensors").write_bytes(
        save_model(CompressionModel(ModelConfig(16, 16, 16, 8, 16)))
    )
    tiny = CompressedDetector(
        copy.deepcopy(slim), f"salient:q=0.3,weights={tmp_path / 'tiny.safetensors'}"
    )
    DetectionCheckpointer(tiny, str(tmp_path)).save("tiny")
    with pytest.raises(SettingError, match="the checkpoint's codec is of another config"):
        DetectionCheckpointer(model).load(str(tmp_path / "tiny.pth"))


def test_a_loaded_checkpoint_is_what_is_tested(entries, tmp_path):
    """Also after the codec of other weights has been at work."""
    mapper = OriginalImageMapper(False, augmentations=[], image_format="BGR")
    other = CompressedDetector(Recorder(), UNIFORM)
    with torch.no_grad():
        other.codec.networks.synthesis.tail[-2].bias += 0.2
    DetectionCheckpointer(other, str(tmp_path)).save("other")
    model = CompressedDetector(Recorder(), UNIFORM).eval()
    pictures = []
    for load in (False, True):
        if load:
            DetectionCheckpointer(model).load(str(tmp_path / "other.pth"))
        model([mapper(dict(entries[0]))])
        pictures.append(model.detector.seen[0].float())
    assert (pictures[1] - pictures[0]).mean() > 20
    model.real_streams = True
    model([mapper(dict(entries[0]))])
    copy.deepcopy(model)([mapper(dict(entries[0]))])  # as averages of weights do


def test_a_whole_model_is_saved_after_a_test(entries, tmp_path):
    """What it made for the test, threads and files of its own, does not go along."""
    mapper = OriginalImageMapper(False, augmentations=[], image_format="BGR")
    model = CompressedDetector(Recorder(), UNIFORM, real_streams=True).eval()
    (x,) = (mapper(dict(entry)) for entry in entries[:1])
    model([x])
    torch.save(model, tmp_path / "model.pth")
    again = torch.load(tmp_path / "model.pth", weights_only=False)
    y = mapper(dict(entries[0]))
    again([y])
    assert y["num_bits"] == x["num_bits"]
    assert torch.equal(again.detector.seen[-1], model.detector.seen[-1])


def test_checkpoints_of_another_head_load_what_fits(slim, tmp_path, caplog):
    torch.save({"model": slim.state_dict()}, tmp_path / "six.pth")
    cfg = load_config(str(CONFIG))
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    model = CompressedDetector(build_model(cfg), UNIFORM)
    with caplog.at_level("WARNING"):
        DetectionCheckpointer(model).load(str(tmp_path / "six.pth"))
    assert (
        "detector.roi_heads.box_predictor.cls_score.weight stays as it is: (7, 128) in the "
        "checkpoint, (4, 128) in the model" in caplog.text
    )
    assert torch.equal(
        model.detector.backbone.fpn_lateral2.weight, slim.backbone.fpn_lateral2.weight
    )


def test_losses_can_be_looked_at_without_gradients(batch):
    model = CompressedDetector(
        Recorder(), UNIFORM, quality=(0.3, 0.3, 0.3, 0.3, 0), mixed_precision=False
    ).train()
    with torch.no_grad():
        looked = model(batch)
    assert model.iteration == 0 and {
        name: loss.item() for name, loss in looked.items()
    } == pytest.approx({name: loss.item() for name, loss in model(batch).items()}, rel=1e-3)


def test_steps_that_are_not_finite_are_passed_over_and_end_a_training():
    model = CompressedDetector(Recorder(), UNIFORM)
    optimizer = ClippedAdamW(model, codec_lr=1.0)
    weight = model.codec.networks.synthesis.tail[-2].bias
    before = weight.clone()
    weight.grad = torch.full_like(weight, float("nan"))
    for _ in range(49):
        optimizer.step()
    assert torch.equal(weight, before)
    with pytest.raises(DataError, match="50 steps on end"):
        optimizer.step()


def test_mixed_precision_around_the_model_changes_no_stream(entries):
    mapper = OriginalImageMapper(False, augmentations=[], image_format="BGR")
    model = CompressedDetector(Recorder(), UNIFORM).eval()
    found = []
    for enabled in (False, True):
        x = mapper(dict(entries[0]))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            model([x])
        found.append((x["num_bits"], model.detector.seen[0]))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])
    for mixed in (False, True):  # and training gives finite losses either way
        trained = CompressedDetector(Recorder(), UNIFORM, mixed_precision=mixed).train()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            assert all(
                torch.isfinite(loss) for loss in trained([mapper(dict(entries[0]))]).values()
            )


def test_pictures_without_annotations_train(slim, entries):
    mapper = OriginalImageMapper(True, augmentations=[], image_format="BGR", use_instance_mask=True)
    x = mapper({**entries[0], "annotations": []})
    losses = CompressedDetector(copy.deepcopy(slim), UNIFORM).train()([x])
    assert len(x["instances"]) == 0 and all(torch.isfinite(loss) for loss in losses.values())


def test_bad_input_is_named(slim, batch):
    model = CompressedDetector(Recorder(), UNIFORM)
    with pytest.raises(SettingError, match=r'needs x\["image"\].*the dict has instances, sem_seg'):
        model([{"sem_seg": 1, "instances": 2}])
    with pytest.raises(SettingError, match=r"must be a tensor \(3, H, W\), got \(1, 8, 8\)"):
        model([{"image": torch.zeros(1, 8, 8)}])
    with pytest.raises(
        DataError, match="big.jpg: an image of 10000x10000.*more than the 67108864 pixels"
    ):
        model.train()(
            [
                {
                    "file_name": "big.jpg",
                    "image": torch.zeros(3, 1, 1, dtype=torch.uint8).expand(3, 10000, 10000),
                }
            ]
        )
    for arguments, message in [
        ({"codec": "jpeg:q=30"}, "only the learned codec is differentiable"),
        ({"trains": "all"}, "trains must be one of codec, detector, both"),
        ({"weights": (1, -1)}, "weights must be at least 0"),
        ({"quality": (0.5, 0.2)}, r"0 <= low <= high <= 1, got \[0.5, 0.2\]"),
        ({"labels": False}, "without labels there is distillation"),
        ({"image_format": "YUV"}, "must be BGR or RGB"),
        ({"weights": LossWeights(distillation=1.0)}, "Recorder has no backbone"),
    ]:
        with pytest.raises(SettingError, match=message):
            CompressedDetector(Recorder(), **{"codec": UNIFORM, **arguments})
    with pytest.raises(SettingError, match="is for a CompressedDetector, got Recorder"):
        ClippedAdamW(Recorder())


def test_a_codec_that_was_loaded_elsewhere_is_not_changed_by_training(batch):
    codec = SalientCodec(0.3, saliency="uniform", device="cpu")
    before = {name: value.clone() for name, value in codec.model.state_dict().items()}
    model = CompressedDetector(Recorder(), codec).train()
    optimizer = ClippedAdamW(model, codec_lr=1e-2)
    sum(model(batch).values()).backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in codec.model.state_dict().items())
