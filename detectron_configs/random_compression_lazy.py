"""LazyConfig: the zoo's Mask R-CNN, trained on randomly compressed pictures and tested on JPEG,
rate beside AP.

tools/lazyconfig_train_net.py --config-file detectron_configs/random_compression_lazy.py \\
    --num-gpus 8
"""

from detectron2.config import LazyCall as L
from detectron2.evaluation import COCOEvaluator
from detectron2.model_zoo import get_config

from salcompress.detectron import CompressedDatasetMapper, CompressionEvaluator, RandomCompression

_zoo = get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py")
model, dataloader, optimizer, lr_multiplier, train = (
    _zoo.model,
    _zoo.dataloader,
    _zoo.optimizer,
    _zoo.lr_multiplier,
    _zoo.train,
)

dataloader.train.mapper._target_ = CompressedDatasetMapper
dataloader.train.mapper.random_compression = L(RandomCompression)(
    codecs=["jpeg:q=5,10,20,40", "webp:q=1,5,20,50"], prob=0.8, image_format="BGR"
)
dataloader.test.mapper._target_ = CompressedDatasetMapper
dataloader.test.mapper.codec = "jpeg:q=10"
dataloader.evaluator = [
    L(COCOEvaluator)(dataset_name="${dataloader.test.dataset.names}"),
    L(CompressionEvaluator)(),
]
