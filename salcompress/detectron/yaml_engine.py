"""The command of YAML configs: training, evaluation, sweeps."""

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from salcompress.detectron.checkpoint import WeightsCheckpointer
from salcompress.detectron.config import (
    check_config,
    config_path,
    load_config,
    merge_file,
    merge_options,
)
from salcompress.detectron.scenes_dataset import register_scenes
from salcompress.detectron.stored_dataset import register_configured
from salcompress.detectron.sweep import sweep
from salcompress.detectron.trainer import CompressionTrainer
from salcompress.errors import SettingError
from salcompress.reporting.tables import results_table


def argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Detectron2's own arguments and ``--codec-config``.

    Args:
        epilog: What ``--help`` ends with; Detectron2's examples where it is None.
    """
    parser = default_argument_parser(epilog)
    parser.add_argument(
        "--codec-config",
        default="",
        metavar="FILE",
        help="merged over --config-file: one of detectron_configs/*.yaml",
    )
    return parser


def configured(args: argparse.Namespace) -> CfgNode:
    """The frozen config of the arguments; --config-file may also name a config of the model zoo.

    Raises:
        SettingError: A config file does not exist or is a LazyConfig, or a key or value is wrong.
    """
    # default_setup reads it once more, for the log
    args.config_file = config_path(args.config_file)
    cfg = load_config(args.config_file)
    if args.codec_config:
        if not Path(args.codec_config).is_file():
            raise SettingError(f"--codec-config {args.codec_config} does not exist")
        merge_file(cfg, args.codec_config)
    merge_options(cfg, args.opts)
    check_config(cfg)
    cfg.freeze()
    return cfg


def device_of(args: argparse.Namespace) -> str:
    """The device that the arguments' config names.

    Raises:
        SettingError: As of :func:`configured`.
    """
    return configured(args).MODEL.DEVICE


def setup(args: argparse.Namespace) -> CfgNode:
    """The config of the arguments, with logs and data sets ready for it.

    Raises:
        SettingError: As of :func:`configured`.
    """
    cfg = configured(args)
    default_setup(cfg, args)
    register_scenes()
    register_configured(cfg)
    return cfg


def main(args: argparse.Namespace) -> Any:
    """Train, or evaluate with ``--eval-only``: at ``TEST_CODEC``, or at each setting of
    SALCOMPRESS.SWEEP if there are any.

    Raises:
        SettingError: A setting is wrong, or an evaluation has no weights.
        DataError: Weights or pictures are damaged, or the weights are of another model.
    """
    cfg = setup(args)
    if not args.eval_only:
        trainer = CompressionTrainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()
    model = CompressionTrainer.build_model(cfg)
    WeightsCheckpointer(model, cfg.OUTPUT_DIR, complete=True).resume_or_load(
        cfg.MODEL.WEIGHTS, resume=args.resume
    )
    if len(cfg.SALCOMPRESS.SWEEP):
        for name in cfg.DATASETS.TEST:
            rows = sweep(cfg, model, name)
            if comm.is_main_process():
                print(results_table(rows))
        return OrderedDict()
    results = CompressionTrainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results
