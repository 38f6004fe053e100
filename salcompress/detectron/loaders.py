"""Detectron2's loaders with compression in the stage that a config names."""

from collections.abc import Iterable
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader

from salcompress.detectron.config import configured_codec, configured_random_compression
from salcompress.detectron.gpu_stage import CompressedLoader
from salcompress.detectron.mapper import CompressedDatasetMapper
from salcompress.detectron.original_mapper import OriginalImageMapper


def build_train_loader(cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
    """Loader of training pictures, compressed in the stage of the config.

    Raises:
        SettingError: A codec or an option of the stage is wrong.
    """
    if cfg.SALCOMPRESS.STAGE == "mapper":
        mapper = CompressedDatasetMapper(cfg, is_train=True)
        return build_detection_train_loader(cfg, mapper=mapper)
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


def build_test_loader(cfg: CfgNode, dataset_name: str) -> Iterable[list[dict[str, Any]]]:
    """Loader of test pictures, compressed in the stage of the config.

    Raises:
        SettingError: A codec or an option of the stage is wrong.
    """
    if cfg.SALCOMPRESS.STAGE == "mapper":
        mapper = CompressedDatasetMapper(cfg, is_train=False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)
    mapper = OriginalImageMapper(cfg, is_train=False)
    if cfg.SALCOMPRESS.STAGE == "model":
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)
    loader = build_detection_test_loader(
        cfg, dataset_name, mapper=mapper, batch_size=cfg.SALCOMPRESS.TEST_BATCH
    )
    return CompressedLoader(
        loader,
        configured_codec(cfg, is_train=False),
        real_streams=cfg.SALCOMPRESS.TEST_STREAMS,
        **_stage_options(cfg),
    )


def _stage_options(cfg: CfgNode) -> dict[str, Any]:
    node = cfg.SALCOMPRESS
    return {
        "image_format": cfg.INPUT.FORMAT,
        "mixed_precision": node.MIXED_PRECISION,
        "prefetch": None if node.PREFETCH < 0 else node.PREFETCH,
    }
