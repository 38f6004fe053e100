"""Training, evaluation and sweeps of stock Detectron2 models on compressed pictures."""
import argparse
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog, build_detection_test_loader, build_detection_train_loader
from detectron2.engine import DefaultTrainer, default_argument_parser, default_setup
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators, inference_on_dataset, verify_results
from detectron2.utils import comm
from torch import distributed, nn

from salcompress.codecs import Codec, load_codecs
from salcompress.coco import CocoDataset, CocoImage, dataset_name, load_annotations
from salcompress.detectron.config import configured_cache
from salcompress.detectron.dataset_mapper import CompressedDatasetMapper
from salcompress.detectron.detector import config_path, load_config
from salcompress.detectron.evaluators import CompressionEvaluator
from salcompress.detectron.scenes_dataset import register_scenes
from salcompress.errors import SettingError
from salcompress.evaluation import summarize
from salcompress.files import digest, read_file, write_atomically
from salcompress.reporting.html import render
from salcompress.reporting.rate_point import RatePoint, to_csv, to_jsonl, to_table
from salcompress.reporting.run_folder import RunIdentity


class CompressionTrainer(DefaultTrainer):
    """``DefaultTrainer`` whose pictures pass through the codecs of ``cfg.SALCOMPRESS``, and whose tests report the rate.

    COCO-format data sets are evaluated; for others, override ``build_ap_evaluator``.

    Raises:
        SettingError: A codec is wrong, or a test data set is not of COCO's format: said before training, not after it.
    """

    def __init__(self, cfg: CfgNode):
        for name in cfg.DATASETS.TEST:
            self.check_evaluable(name)
        super().__init__(cfg)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        return build_detection_train_loader(cfg, mapper=CompressedDatasetMapper(cfg, is_train=True))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        return build_detection_test_loader(cfg, dataset_name, mapper=CompressedDatasetMapper(cfg, is_train=False))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluators:
        output = Path(cfg.OUTPUT_DIR) / "inference"
        return DatasetEvaluators([cls.build_ap_evaluator(dataset_name, output), CompressionEvaluator()])

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
            raise SettingError(f"data set {dataset_name} is evaluated as {kind!r}, and CompressionTrainer does COCO's AP; "
                               "override build_ap_evaluator and check_evaluable")


def run_and_leave(work: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in each of the processes of Detectron2's ``launch``, and leave their group together.

    ``launch`` leaves the group to the interpreter's exit, where a process that ends first makes another one abort now and then (gloo).
    """
    work(*arguments)
    if comm.get_world_size() > 1:
        comm.synchronize()
        distributed.destroy_process_group()


def argument_parser() -> argparse.ArgumentParser:
    """Detectron2's own arguments and ``--codec-config``."""
    parser = default_argument_parser()
    parser.add_argument("--codec-config", default="", metavar="FILE",
                        help="merged over --config-file: one of detectron_configs/*.yaml")
    return parser


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of the arguments; --config-file may also name a config of the model zoo.

    Raises:
        SettingError: A config file does not exist.
    """
    args.config_file = config_path(args.config_file)  # default_setup reads it once more, for the log
    cfg = load_config(args.config_file)
    if args.codec_config:
        if not Path(args.codec_config).is_file():
            raise SettingError(f"--codec-config {args.codec_config} does not exist")
        cfg.merge_from_file(args.codec_config)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    register_scenes()
    return cfg


def main(args: argparse.Namespace) -> Any:
    """Train, or evaluate with ``--eval-only``, and then at each setting of SALCOMPRESS.SWEEP if there are any."""
    cfg = setup(args)
    if not args.eval_only:
        trainer = CompressionTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()
    model = CompressionTrainer.build_model(cfg)
    DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    if len(cfg.SALCOMPRESS.SWEEP):
        for name in cfg.DATASETS.TEST:
            rows = sweep(cfg, model, name, CompressionTrainer.build_ap_evaluator)
            if comm.is_main_process():
                print(to_table(rows))
        return OrderedDict()
    results = CompressionTrainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def sweep(
    cfg: CfgNode, model: nn.Module, dataset: str, build_ap_evaluator: Callable[[str, Path], DatasetEvaluator]
) -> list[RatePoint]:
    """Evaluate a model at every setting of ``cfg.SALCOMPRESS.SWEEP``, sharded over the processes there are.

    Rows are made by the same code, from the same figures, as those of ``salcompress evaluate``, and written to
    ``OUTPUT_DIR/sweep/DATASET``: results.jsonl, summary.csv and report.html, in place of those of an earlier sweep.

    Args:
        dataset: A registered COCO-format data set.
        build_ap_evaluator: From data set and folder to an evaluator that leaves ``coco_instances_results.json`` there.

    Returns:
        The rows, on the main process; empty on the others.
    """
    folder, rows = Path(cfg.OUTPUT_DIR) / "sweep" / dataset, []
    for codec in load_codecs(*cfg.SALCOMPRESS.SWEEP):
        mapper = CompressedDatasetMapper(cfg, is_train=False, measure_distortion=True, codec=configured_cache(cfg, codec))
        loader = build_detection_test_loader(cfg, dataset, mapper=mapper)
        output, rate = folder / digest(codec.fingerprint)[:12], CompressionEvaluator()
        inference_on_dataset(model, loader, DatasetEvaluators([build_ap_evaluator(dataset, output), rate]))
        if comm.is_main_process():
            gives_masks = bool(cfg.MODEL.MASK_ON)
            rows.append(_row(cfg, dataset, codec, rate, output / "coco_instances_results.json", gives_masks))
            write_atomically(folder / "results.jsonl", to_jsonl(rows))
            write_atomically(folder / "summary.csv", to_csv(rows))
            write_atomically(folder / "report.html", render(rows))
    return rows


def _row(cfg: CfgNode, name: str, codec: Codec, rate: CompressionEvaluator, results: Path, gives_masks: bool) -> RatePoint:
    """Row of a setting from what the evaluators gathered."""
    annotations = Path(MetadataCatalog.get(name).json_file)
    coco, text = load_annotations(annotations)
    images = tuple(CocoImage(r.image_id, r.file_name, Path(r.file_name), r.height, r.width) for r in rate.records)
    data = CocoDataset(dataset_name(annotations, coco), images, {}, coco, digest(text))
    found: dict[int, list] = {}
    for detection in json.loads(read_file(results)) if results.is_file() else []:
        found.setdefault(detection.pop("image_id"), []).append(detection)
    records = {r.image_id: r._replace(detections=found.get(r.image_id, [])) for r in rate.records}
    detector = f"{cfg.MODEL.META_ARCHITECTURE}({cfg.MODEL.WEIGHTS})"
    return summarize(data, records, codec, RunIdentity(data.name, data.fingerprint, detector, ""), gives_masks)
