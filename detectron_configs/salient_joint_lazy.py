"""LazyConfig: train the zoo's Mask R-CNN and the learned codec in front of it together.

tools/lazyconfig_train_net.py --config-file detectron_configs/salient_joint_lazy.py --num-gpus 8
"""

from detectron2.config import LazyCall as L
from detectron2.evaluation import COCOEvaluator
from detectron2.model_zoo import get_config

from salcompress.detectron import (
    ClippedAdamW,
    CompressedDetector,
    CompressionEvaluator,
    LossWeights,
    OriginalImageMapper,
    QualitySchedule,
)

_zoo = get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py")
dataloader, lr_multiplier, train = _zoo.dataloader, _zoo.lr_multiplier, _zoo.train

model = L(CompressedDetector)(
    detector=_zoo.model,
    codec="salient:q=0.1",
    trains="both",
    weights=L(LossWeights)(distortion=0.3, task=2.0),
    quality=L(QualitySchedule)(low=0.0, high=0.3, start_low=0.3, start_high=0.6, iterations=5000),
)
optimizer = L(ClippedAdamW)(codec_lr=3e-5, detector_lr=1e-4)
for _part in (dataloader.train, dataloader.test):
    _part.mapper._target_ = OriginalImageMapper
    _part.mapper.image_format = "BGR"
dataloader.evaluator = [
    L(COCOEvaluator)(dataset_name="${dataloader.test.dataset.names}"),
    L(CompressionEvaluator)(),
]
train.log_codec_period = 200
