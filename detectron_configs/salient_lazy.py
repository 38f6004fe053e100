"""LazyConfig: the zoo's Mask R-CNN on pictures compressed by the learned codec in the loader's
processes.

tools/lazyconfig_train_net.py --config-file detectron_configs/salient_lazy.py --num-gpus 8
"""

from detectron2.config import LazyCall as L
from detectron2.evaluation import COCOEvaluator
from detectron2.model_zoo import get_config

from salcompress.detectron import CompressedDatasetMapper, CompressionEvaluator

_zoo = get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py")
model, dataloader, optimizer, lr_multiplier, train = (
    _zoo.model,
    _zoo.dataloader,
    _zoo.optimizer,
    _zoo.lr_multiplier,
    _zoo.train,
)

dataloader.train.mapper._target_ = CompressedDatasetMapper
dataloader.train.mapper.codec = "salient:q=0.3"
dataloader.test.mapper._target_ = CompressedDatasetMapper
dataloader.test.mapper.codec = "salient:q=0.3"
dataloader.evaluator = [
    L(COCOEvaluator)(dataset_name="${dataloader.test.dataset.names}"),
    L(CompressionEvaluator)(),
]
