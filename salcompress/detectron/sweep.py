"""A Detectron2 model at many settings, by the evaluator of ``salcompress evaluate``."""

import json
import shutil
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from torch import nn

from salcompress.codecs import Codec, load_codecs
from salcompress.data.coco import CocoDataset, load_dataset
from salcompress.detectron.config import configured_cache
from salcompress.detectron.detector import MOST_COUNTED, Detectron2Detector, model_label
from salcompress.detectron.model import CompressedDetector
from salcompress.errors import SettingError
from salcompress.evaluation.evaluate import evaluate
from salcompress.evaluation.kept_pictures import choose_pictures
from salcompress.evaluation.rate_point import RatePoint
from salcompress.evaluation.worst_pictures import keep_worst_pictures
from salcompress.files import digest, write_atomically
from salcompress.reporting.report import write_report


def sweep(cfg: CfgNode, model: nn.Module, dataset_name: str) -> list[RatePoint]:
    """Evaluate a model at every setting of ``cfg.SALCOMPRESS.SWEEP``, shared among the processes
    that there are.

    It is :func:`salcompress.evaluation.evaluate.evaluate` of the model as a detector: it makes the
    same rows and the same folder, ``OUTPUT_DIR/sweep/DATASET``, and a killed sweep goes on where it
    stopped. Pictures are coded in ``DATALOADER.NUM_WORKERS`` processes, whatever the stage. Of a
    :class:`~salcompress.detectron.model.CompressedDetector` it is the detector alone, behind the
    codecs of the sweep: for that of its own training write
    ``salient:weights=OUTPUT_DIR/codec.safetensors``.

    Args:
        cfg: The config of the model, and of the sweep.
        dataset_name: A registered data set of COCO's format.

    Returns:
        A row for each setting, on the main process; on the others none. They take the place of
        those of an earlier sweep of another model.

    Raises:
        SettingError: A codec is wrong, the data set is of another format or has another number of
            categories than the model has classes, or the config counts more than 100 detections.
        DataError: A picture is damaged, or the data set's annotations are.
    """
    if cfg.TEST.DETECTIONS_PER_IMAGE > MOST_COUNTED:
        raise SettingError(
            f"rows hold COCO's AP, which counts {MOST_COUNTED} detections of an image, and "
            f"TEST.DETECTIONS_PER_IMAGE is {cfg.TEST.DETECTIONS_PER_IMAGE}: set it to "
            f"{MOST_COUNTED}, or evaluate without SALCOMPRESS.SWEEP"
        )
    dataset, category_ids = registered_dataset(dataset_name)
    model = model.detector if isinstance(model, CompressedDetector) else model
    detector = Detectron2Detector(model, cfg, category_ids, model_label(cfg))
    codecs = [configured_cache(cfg, codec) for codec in load_codecs(*cfg.SALCOMPRESS.SWEEP)]
    folder = Path(cfg.OUTPUT_DIR) / "sweep" / dataset_name
    if comm.is_main_process():
        _clear_if_of_another(folder, dataset, detector)
    if comm.get_world_size() > 1:
        _measure_shares(cfg, dataset, detector, codecs, folder)
    if not comm.is_main_process():
        return []
    rows = _evaluate(cfg, dataset, detector, codecs, folder)
    keep_worst_pictures(folder, dataset, codecs, cfg.DATALOADER.NUM_WORKERS)
    write_report(folder)
    return rows


def registered_dataset(name: str) -> tuple[CocoDataset, tuple[int, ...]]:
    """A data set of Detectron2's catalog as this package reads it, and the id of each class.

    Its images are those that the catalog lists, which may be some of those of its json.

    Raises:
        SettingError: It is not registered, or not by COCO's json and a folder of images.
    """
    try:
        listed = DatasetCatalog.get(name)  # which may draw it, and numbers the classes
    except KeyError as error:
        raise SettingError(str(error.args[0])) from error
    metadata = MetadataCatalog.get(name)
    if metadata.get("evaluator_type", "coco") != "coco" or not metadata.get("json_file"):
        raise SettingError(
            f"data set {name} has no COCO json: a sweep is of data sets that "
            "register_coco_instances registers"
        )
    if metadata.get("stored"):
        raise SettingError(
            f"data set {name} is stored as streams, and a sweep compresses original pictures: "
            "name the data set of these"
        )
    classes = metadata.thing_dataset_id_to_contiguous_id
    category_ids = tuple(sorted(classes, key=lambda category_id: classes[category_id]))
    dataset = load_dataset(metadata.image_root, metadata.json_file)
    paths = {Path(entry["file_name"]).resolve() for entry in listed}
    images = tuple(image for image in dataset.images if image.path.resolve() in paths)
    if not images:
        raise SettingError(
            f"data set {name} lists no image of {metadata.json_file} in {metadata.image_root}"
        )
    if len(images) < len(dataset.images):
        names = (image.file_name for image in images)
        dataset = dataset._replace(images=images, fingerprint=digest(dataset.fingerprint, *names))
    return dataset, category_ids


def _evaluate(
    cfg: CfgNode,
    dataset: CocoDataset,
    detector: Detectron2Detector,
    codecs: list[Codec],
    folder: Path,
) -> list[RatePoint]:
    return evaluate(
        dataset,
        detector,
        codecs,
        folder,
        workers=cfg.DATALOADER.NUM_WORKERS,
        show_progress=comm.is_main_process(),
    )


def _measure_shares(
    cfg: CfgNode,
    dataset: CocoDataset,
    detector: Detectron2Detector,
    codecs: list[Codec],
    folder: Path,
) -> None:
    """Each process measures a share of the images; their records then stand in ``folder``.

    The images whose pictures a report shows are left to the main process, which keeps them.
    """
    rank, count = comm.get_rank(), comm.get_world_size()
    pictured = {image.image_id for image in choose_pictures(dataset)}
    images = [image for image in dataset.images if image.image_id not in pictured][rank::count]
    share_folder = folder / "shares" / f"{rank}-of-{count}"
    comm.synchronize()  # the folder is that of this sweep
    records = {}
    if images:
        share = dataset._replace(
            images=tuple(images), fingerprint=digest(dataset.fingerprint, f"{rank}-of-{count}")
        )
        _evaluate(cfg, share, detector, codecs, share_folder)
        records = {path.name: path.read_bytes() for path in (share_folder / "records").iterdir()}
    shares = comm.gather(records, dst=0)
    if comm.is_main_process():
        for name in sorted({name for share in shares for name in share}):
            path = folder / "records" / name
            before = path.read_bytes() if path.is_file() else b""
            write_atomically(path, before + b"".join(share.get(name, b"") for share in shares))
        shutil.rmtree(folder / "shares", ignore_errors=True)


def _clear_if_of_another(folder: Path, dataset: CocoDataset, detector: Detectron2Detector) -> None:
    """Remove the sweep of another model or data set, whose place this one takes."""
    try:
        held = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        held = {}
    wanted = (dataset.fingerprint, detector.fingerprint)
    if folder.exists() and wanted != (
        held.get("dataset_fingerprint"),
        held.get("detector_fingerprint"),
    ):
        shutil.rmtree(folder)
