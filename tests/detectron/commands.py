"""Command lines and data sets that several tests of the trainers share."""

from pathlib import Path

from detectron2.data import DatasetCatalog
from detectron2.data.datasets import register_coco_instances

from salcompress.detectron import yaml_engine

CONFIGS = Path(__file__).parents[2] / "detectron_configs"
SCENES = "test_scenes"


def register_scenes(annotations) -> str:
    """The scenes of the tests as a data set of Detectron2's, in this process."""
    if SCENES not in DatasetCatalog:
        register_coco_instances(
            SCENES, {}, str(annotations), str(Path(annotations).parent / "images")
        )
    return SCENES


def arguments(codec, out, *more, opts=(), steps=2):
    """Arguments of tools/train_net.py for the slim Mask R-CNN on few small scenes."""
    settings = {
        "OUTPUT_DIR": out,
        "DATASETS.TRAIN": f"('{SCENES}',)",
        "DATASETS.TEST": f"('{SCENES}',)",
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": steps,
        "SOLVER.STEPS": "()",
        "SOLVER.CHECKPOINT_PERIOD": 100,
        "SEED": 3,
        "DATALOADER.NUM_WORKERS": 0,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
        "INPUT.MIN_SIZE_TRAIN": "(120,)",
        "INPUT.MIN_SIZE_TEST": 120,
        "TEST.EXPECTED_RESULTS": "[]",
    }
    pairs = [str(part) for pair in settings.items() for part in pair]
    return yaml_engine.argument_parser().parse_args(
        [
            "--num-gpus",
            "0",
            "--config-file",
            str(CONFIGS / "scenes_mask_rcnn.yaml"),
            "--codec-config",
            str(CONFIGS / f"{codec}.yaml"),
            *more,
            *pairs,
            *map(str, opts),
        ]
    )
