"""Training, evaluation and sweeps of stock Detectron2 models on compressed pictures."""

import argparse
import json
import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import (
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    HookBase,
    SimpleTrainer,
    TrainerBase,
    default_argument_parser,
    default_setup,
)
from detectron2.engine.defaults import create_ddp_model
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
    verify_results,
)
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from torch import distributed, nn
from torch.optim import Optimizer

from salcompress.codecs import Codec, load_codecs
from salcompress.data.coco import CocoDataset, CocoImage, dataset_name, load_annotations
from salcompress.detectron.config import (
    check_stage,
    configured_cache,
    configured_codec,
    configured_random_compression,
)
from salcompress.detectron.detector import config_path, load_config
from salcompress.detectron.evaluators import CompressionEvaluator
from salcompress.detectron.gpu_stage import CompressedLoader
from salcompress.detectron.hooks import CodecExporter, CodecLogger
from salcompress.detectron.mapper import CompressedDatasetMapper
from salcompress.detectron.model import CompressedDetector
from salcompress.detectron.optimizer import ClippedAdamW
from salcompress.detectron.original_mapper import OriginalImageMapper
from salcompress.detectron.scenes_dataset import register_scenes
from salcompress.errors import SettingError
from salcompress.evaluation.rate_point import RatePoint, to_csv, to_jsonl
from salcompress.evaluation.run_folder import RunIdentity
from salcompress.evaluation.statistics import summarize
from salcompress.files import digest, read_file, write_atomically
from salcompress.reporting.html import render
from salcompress.reporting.tables import results_table


class CompressionTrainer(DefaultTrainer):
    """``DefaultTrainer`` whose pictures pass through the codecs of ``cfg.SALCOMPRESS``, and whose
    tests report the rate.

    ``cfg.SALCOMPRESS.STAGE`` says where: in the loader's processes, behind the loader, or in the
    model, which then is a :class:`~salcompress.detectron.model.CompressedDetector`. COCO-format
    data sets are evaluated; for others, override ``build_ap_evaluator``.

    Raises:
        SettingError: A codec or stage is wrong, or a test data set is not of COCO's format: said
            before training, not after it.
    """

    def __init__(self, cfg: CfgNode):
        for name in cfg.DATASETS.TEST:
            self.check_evaluable(name)
        check_stage(cfg)
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        # what DefaultTrainer's own constructor does, but for the ids of devices that it gives DDP,
        # and that a model on CPUs refuses
        TrainerBase.__init__(self)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        kind = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = kind(distribute(model), self.build_train_loader(cfg), optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = DetectionCheckpointer(
            model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self)
        )
        self.start_iter, self.max_iter, self.cfg = 0, cfg.SOLVER.MAX_ITER, cfg
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = super().build_model(cfg)
        return (
            CompressedDetector.from_config(cfg, model)
            if cfg.SALCOMPRESS.STAGE == "model"
            else model
        )

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        if not isinstance(model, CompressedDetector) or model.trains == "detector":
            return super().build_optimizer(cfg, model)
        clip, node = cfg.SOLVER.CLIP_GRADIENTS, cfg.SALCOMPRESS.MODEL
        if clip.ENABLED and (clip.CLIP_TYPE != "norm" or clip.NORM_TYPE != 2.0):
            raise SettingError(
                "a codec is trained with the 2-norm of its gradients clipped: set "
                "SOLVER.CLIP_GRADIENTS.CLIP_TYPE to norm and NORM_TYPE to 2.0"
            )
        return ClippedAdamW(
            model,
            node.CODEC_LR,
            node.DETECTOR_LR,
            max_norm=clip.CLIP_VALUE if clip.ENABLED else 1.0,
        )

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        if cfg.SALCOMPRESS.STAGE == "mapper":
            return build_detection_train_loader(
                cfg, mapper=CompressedDatasetMapper(cfg, is_train=True)
            )
        loader = build_detection_train_loader(cfg, mapper=OriginalImageMapper(cfg, is_train=True))
        if cfg.SALCOMPRESS.STAGE == "model":
            return loader
        drawn = configured_random_compression(cfg)
        return CompressedLoader(
            loader,
            configured_codec(cfg, is_train=True),
            random_codecs=drawn.settings if drawn else (),
            real_streams=cfg.SALCOMPRESS.TRAIN_STREAMS,
            logs=True,
            **_stage_options(cfg),
        )

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        if cfg.SALCOMPRESS.STAGE == "model":
            return build_detection_test_loader(
                cfg, dataset_name, mapper=OriginalImageMapper(cfg, is_train=False)
            )
        return compressed_test_loader(
            cfg, dataset_name, configured_codec(cfg, is_train=False), cfg.SALCOMPRESS.TEST_STREAMS
        )

    def build_hooks(self) -> list[HookBase]:
        hooks = super().build_hooks()
        model = self.checkpointer.model
        if isinstance(model, CompressedDetector) and comm.is_main_process():
            # before the last one, which writes the logs
            hooks[-1:-1] = [
                CodecLogger(model, self.cfg.SALCOMPRESS.MODEL.LOG_PERIOD),
                CodecExporter(model, self.cfg.OUTPUT_DIR, self.cfg.SOLVER.CHECKPOINT_PERIOD),
            ]
        return hooks

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        # not by DDP, which on CUDA hands over copies of the dicts: the rates noted in them would be
        # lost
        return super().test(cfg, getattr(model, "module", model), evaluators)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluators:
        output = Path(cfg.OUTPUT_DIR) / "inference"
        return DatasetEvaluators(
            [cls.build_ap_evaluator(dataset_name, output), CompressionEvaluator()]
        )

    @classmethod
    def build_ap_evaluator(cls, dataset_name: str, output: Path) -> DatasetEvaluator:
        """The evaluator of AP; writes its results to ``output``.

        Raises:
            SettingError: The data set is not of COCO's format.
        """
        cls.check_evaluable(dataset_name)
        return COCOEvaluator(dataset_name, output_dir=str(output))

    @classmethod
    def check_evaluable(cls, dataset_name: str) -> None:
        """Raise unless ``build_ap_evaluator`` can evaluate the data set; override both together.

        Raises:
            SettingError: The data set is not of COCO's format.
        """
        kind = MetadataCatalog.get(dataset_name).get("evaluator_type", "coco")
        if kind != "coco":
            raise SettingError(
                f"data set {dataset_name} is evaluated as {kind!r}, and CompressionTrainer does "
                "COCO's AP; "
                "override build_ap_evaluator and check_evaluable"
            )


def distribute(model: nn.Module, **options: Any) -> nn.Module:
    """The model for all processes of the launch: as it is where there is one, else within
    DistributedDataParallel.
    """
    on_cpu = (
        {"device_ids": None}
        if all(parameter.device.type == "cpu" for parameter in model.parameters())
        else {}
    )
    return create_ddp_model(model, **{"broadcast_buffers": False, **options, **on_cpu})


def _stage_options(cfg: CfgNode) -> dict[str, Any]:
    node = cfg.SALCOMPRESS
    return {
        "image_format": cfg.INPUT.FORMAT,
        "mixed_precision": node.MIXED_PRECISION,
        "prefetch": None if node.PREFETCH < 0 else node.PREFETCH,
    }


def compressed_test_loader(
    cfg: CfgNode,
    dataset_name: str,
    codec: Codec,
    real_streams: bool,
    measure_distortion: bool = False,
):
    """Loader of test pictures behind a codec, in the stage of the config; in front of stage "model"
    in the mapper.
    """
    if cfg.SALCOMPRESS.STAGE != "gpu":
        mapper = CompressedDatasetMapper(
            cfg, is_train=False, measure_distortion=measure_distortion, codec=codec
        )
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)
    loader = build_detection_test_loader(
        cfg,
        dataset_name,
        mapper=OriginalImageMapper(cfg, is_train=False),
        batch_size=cfg.SALCOMPRESS.TEST_BATCH,
    )
    return CompressedLoader(
        loader,
        codec,
        real_streams=real_streams,
        measure_distortion=measure_distortion,
        **_stage_options(cfg),
    )


def run_and_leave(work: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in each of the processes of Detectron2's ``launch``, and leave their group
    together.

    ``launch`` leaves the group to the interpreter's exit, where a process that ends first makes
    another one abort now and then (gloo).
    """
    work(*arguments)
    if comm.get_world_size() > 1:
        comm.synchronize()
        distributed.destroy_process_group()


def argument_parser() -> argparse.ArgumentParser:
    """Detectron2's own arguments and ``--codec-config``."""
    parser = default_argument_parser()
    parser.add_argument(
        "--codec-config",
        default="",
        metavar="FILE",
        help="merged over --config-file: one of detectron_configs/*.yaml",
    )
    return parser


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of the arguments; --config-file may also name a config of the model zoo.

    Raises:
        SettingError: A config file does not exist.
    """
    args.config_file = config_path(
        args.config_file
    )  # default_setup reads it once more, for the log
    cfg = load_config(args.config_file)
    if args.codec_config:
        if not Path(args.codec_config).is_file():
            raise SettingError(f"--codec-config {args.codec_config} does not exist")
        cfg.merge_from_file(args.codec_config)
    cfg.merge_from_list(args.opts)
    check_stage(cfg)
    cfg.freeze()
    default_setup(cfg, args)
    register_scenes()
    return cfg


def main(args: argparse.Namespace) -> Any:
    """Train, or evaluate with ``--eval-only``, and then at each setting of SALCOMPRESS.SWEEP if
    there are any.
    """
    cfg = setup(args)
    if not args.eval_only:
        trainer = CompressionTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()
    model = CompressionTrainer.build_model(cfg)
    DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(
        cfg.MODEL.WEIGHTS, resume=args.resume
    )
    if len(cfg.SALCOMPRESS.SWEEP):
        for name in cfg.DATASETS.TEST:
            rows = sweep(cfg, model, name, CompressionTrainer.build_ap_evaluator)
            if comm.is_main_process():
                print(results_table(rows))
        return OrderedDict()
    results = CompressionTrainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def sweep(
    cfg: CfgNode,
    model: nn.Module,
    dataset: str,
    build_ap_evaluator: Callable[[str, Path], DatasetEvaluator],
) -> list[RatePoint]:
    """Evaluate a model at every setting of ``cfg.SALCOMPRESS.SWEEP``, sharded over the processes
    there are.

    Of a :class:`~salcompress.detectron.model.CompressedDetector` it is the detector alone, behind
    the codecs of the sweep: for that of its own training write
    ``salient:weights=OUTPUT_DIR/codec.safetensors``. Rows are made by the same code, from the same
    figures, as those of ``salcompress evaluate``, and written to ``OUTPUT_DIR/sweep/DATASET``:
    results.jsonl, summary.csv and report.html, in place of those of an earlier sweep.

    Args:
        dataset: A registered COCO-format data set.
        build_ap_evaluator: From data set and folder to an evaluator that leaves
            ``coco_instances_results.json`` there.

    Returns:
        The rows, on the main process; empty on the others.
    """
    folder, rows = Path(cfg.OUTPUT_DIR) / "sweep" / dataset, []
    model = model.detector if isinstance(model, CompressedDetector) else model
    for codec in load_codecs(*cfg.SALCOMPRESS.SWEEP):
        loader = compressed_test_loader(
            cfg, dataset, configured_cache(cfg, codec), real_streams=True, measure_distortion=True
        )
        output, rate = folder / digest(codec.fingerprint)[:12], CompressionEvaluator()
        inference_on_dataset(
            model, loader, DatasetEvaluators([build_ap_evaluator(dataset, output), rate])
        )
        if comm.is_main_process():
            gives_masks = bool(cfg.MODEL.MASK_ON)
            rows.append(
                _row(cfg, dataset, codec, rate, output / "coco_instances_results.json", gives_masks)
            )
            write_atomically(folder / "results.jsonl", to_jsonl(rows))
            write_atomically(folder / "summary.csv", to_csv(rows))
            write_atomically(folder / "report.html", render(rows))
    return rows


def _row(
    cfg: CfgNode,
    name: str,
    codec: Codec,
    rate: CompressionEvaluator,
    results: Path,
    gives_masks: bool,
) -> RatePoint:
    """Row of a setting from what the evaluators gathered."""
    annotations = Path(MetadataCatalog.get(name).json_file)
    coco, text = load_annotations(annotations)
    images = tuple(
        CocoImage(r.image_id, r.file_name, Path(r.file_name), r.height, r.width)
        for r in rate.records
    )
    data = CocoDataset(dataset_name(annotations, coco), images, {}, coco, digest(text))
    found: dict[int, list] = {}
    for detection in json.loads(read_file(results)) if results.is_file() else []:
        found.setdefault(detection.pop("image_id"), []).append(detection)
    records = {r.image_id: r._replace(detections=found.get(r.image_id, [])) for r in rate.records}
    detector = f"{cfg.MODEL.META_ARCHITECTURE}({cfg.MODEL.WEIGHTS})"
    return summarize(
        data, records, codec, RunIdentity(data.name, data.fingerprint, detector, ""), gives_masks
    ).row
