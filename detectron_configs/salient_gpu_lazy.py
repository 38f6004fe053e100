"""LazyConfig: the zoo's Mask R-CNN behind the learned codec, which works in batches on the GPU,
between loader and detector.

tools/lazyconfig_train_net.py --config-file detectron_configs/salient_gpu_lazy.py --num-gpus 8
"""

from detectron2.config import LazyCall as L
from detectron2.evaluation import COCOEvaluator
from detectron2.model_zoo import get_config

from salcompress.detectron import (
    CompressedLoader,
    CompressionEvaluator,
    OriginalImageMapper,
    RandomCompression,
)

_zoo = get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py")
model, dataloader, optimizer, lr_multiplier, train = (
    _zoo.model,
    _zoo.dataloader,
    _zoo.optimizer,
    _zoo.lr_multiplier,
    _zoo.train,
)

_random = ["salient:q=0,0.1,0.2,0.3,0.5"]
for _part in (dataloader.train, dataloader.test):
    _part.mapper._target_ = OriginalImageMapper
    _part.mapper.image_format = "BGR"
dataloader.train.mapper.random_compression = L(RandomCompression)(
    codecs=_random, prob=0.8, image_format="BGR"
)
dataloader.train = L(CompressedLoader)(
    loader=dataloader.train, codec="none", random_codecs=_random, logs=True
)
dataloader.test = L(CompressedLoader)(
    loader=dataloader.test, codec="salient:q=0.1", real_streams=True
)
dataloader.evaluator = [
    L(COCOEvaluator)(dataset_name="${dataloader.test.loader.dataset.names}"),
    L(CompressionEvaluator)(),
]
