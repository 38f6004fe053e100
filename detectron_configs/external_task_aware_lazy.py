"""LazyConfig: train the learned codec for more than one detector, on a folder of pictures.

    tools/lazyconfig_train_net.py --config-file detectron_configs/external_task_aware_lazy.py \\
        --num-gpus 0 model.detector.path=model.py \\
        dataloader.train.dataset.json_file=instances.json \\
        dataloader.train.dataset.image_root=images

The first detector is a Detectron2 model that model.py builds: its function build_model() returns
the model with its weights, in eval mode. The labels of the pictures teach by its losses, and its
features do. With model.labels=False features alone teach. The demo's detector teaches
by its features; model.teachers=[] leaves it out.

The codec sees squares that are cut out of the pictures, and the detectors see them at the size that
the mapper's augmentations give: it should have to the square the ratio that it will have at test,
here 0.7 of 320 pixels. ``output/task_aware/codec.safetensors`` then is a codec for ``salcompress
evaluate`` and all else.
"""

from detectron2.config import LazyCall as L
from detectron2.data import build_detection_train_loader
from detectron2.data import transforms as T
from detectron2.data.datasets import load_coco_json
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import CosineParamScheduler
from omegaconf import OmegaConf

from salcompress.detectors.external import load_external
from salcompress.detectron import (
    ClippedAdamW,
    CompressedDetector,
    LossWeights,
    OriginalImageMapper,
    QualitySchedule,
    load_scene_features,
)

model = L(CompressedDetector)(
    detector=L(load_external)(path="model.py", factory="build_model"),
    codec="salient:q=0.1,saliency=uniform",
    trains="codec",
    labels=True,
    weights=L(LossWeights)(distortion=0.1, task=1.5, distillation=6.0),
    quality=L(QualitySchedule)(low=0.0, high=0.5, start_low=0.0, start_high=0.5),
    teachers=[L(load_scene_features)(weight=0.2)],
)
dataloader = OmegaConf.create()
dataloader.train = L(build_detection_train_loader)(
    dataset=L(load_coco_json)(
        json_file="instances.json", image_root="images", dataset_name="external_train"
    ),
    mapper=L(OriginalImageMapper)(
        is_train=True,
        crop=320,
        image_format="BGR",
        use_instance_mask=True,
        instance_mask_format="bitmask",
        augmentations=[
            L(T.ResizeShortestEdge)(short_edge_length=224, max_size=224),
            L(T.RandomFlip)(),
        ],
    ),
    total_batch_size=2,
    num_workers=0,
)
optimizer = L(ClippedAdamW)(codec_lr=4e-4, gain_lr=4e-3)
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(CosineParamScheduler)(start_value=1, end_value=0.0),
    warmup_length=0.02,
    warmup_factor=0.01,
)
train = OmegaConf.create(
    dict(
        output_dir="output/task_aware",
        init_checkpoint="",
        max_iter=2500,
        device="cpu",
        seed=1,
        eval_period=0,
        log_period=20,
        log_codec_period=250,
        amp=dict(enabled=False),
        ddp=dict(),
        checkpointer=dict(period=150, max_to_keep=2),
    )
)
