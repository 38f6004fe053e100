"""LazyConfig: the demo's detector goes on training on drawn scenes as the learned codec leaves them
at its lowest rate.

        tools/lazyconfig_train_net.py --config-file detectron_configs/scene_detector_lazy.py \\
        --num-gpus 0

It begins with the shipped weights, which are of pictures as they are; with
dataloader.train.codec=none it goes on so (the test stays at the lowest rate:
dataloader.test.codec). The first call draws 4,000 scenes, some minutes; a step takes under two
seconds of a CPU core. On a GPU: train.device=cuda.
"""

import torch
from detectron2.config import LazyCall as L
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data import transforms as T
from detectron2.evaluation import COCOEvaluator
from detectron2.solver import WarmupParamScheduler, get_default_optimizer_params
from fvcore.common.param_scheduler import CosineParamScheduler
from omegaconf import OmegaConf

from salcompress.detectron import (
    CompressedLoader,
    CompressionEvaluator,
    OriginalImageMapper,
    load_scene_model,
)

model = L(load_scene_model)()
dataloader = OmegaConf.create()
dataloader.train = L(CompressedLoader)(
    loader=L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="salcompress_scenes_train_large"),
        mapper=L(OriginalImageMapper)(
            is_train=True,
            image_format="BGR",
            use_instance_mask=True,
            instance_mask_format="bitmask",
            augmentations=[L(T.RandomFlip)()],
        ),
        total_batch_size=8,
        num_workers=0,
    ),
    codec="salient:q=0,saliency=uniform",
    logs=True,
)
dataloader.test = L(CompressedLoader)(
    loader=L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="salcompress_scenes_val", filter_empty=False),
        mapper=L(OriginalImageMapper)(is_train=False, image_format="BGR", augmentations=[]),
        batch_size=8,
        num_workers=0,
    ),
    codec="salient:q=0,saliency=uniform",
    real_streams=True,
)
dataloader.evaluator = [
    L(COCOEvaluator)(dataset_name="${dataloader.test.loader.dataset.names}"),
    L(CompressionEvaluator)(),
]
optimizer = L(torch.optim.AdamW)(
    params=L(get_default_optimizer_params)(), lr=1e-3, weight_decay=1e-4
)
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(CosineParamScheduler)(start_value=1, end_value=0.0),
    warmup_length=0.02,
    warmup_factor=0.01,
)
train = OmegaConf.create(
    dict(
        output_dir="output/scene_detector",
        init_checkpoint="",
        max_iter=1500,
        device="cpu",
        seed=1,
        eval_period=0,
        log_period=25,
        amp=dict(enabled=False),
        ddp=dict(broadcast_buffers=True),
        checkpointer=dict(period=250, max_to_keep=2),
    )
)
