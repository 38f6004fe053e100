"""LazyConfig: the zoo's Mask R-CNN on pictures that ``salcompress compress`` stored as streams.

tools/lazyconfig_train_net.py --config-file detectron_configs/stored_lazy.py --num-gpus 8

They are decoded in the loader's processes. detectron_configs/stored.yaml has the commands that
store them.
"""

from detectron2.config import LazyCall as L
from detectron2.evaluation import COCOEvaluator
from detectron2.model_zoo import get_config

from salcompress.detectron import CompressedDatasetMapper, CompressionEvaluator, stored_dicts

_zoo = get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py")
model, dataloader, optimizer, lr_multiplier, train = (
    _zoo.model,
    _zoo.dataloader,
    _zoo.optimizer,
    _zoo.lr_multiplier,
    _zoo.train,
)

dataloader.train.dataset = L(stored_dicts)(
    name="stored_train",
    location="stored/train2017",
    annotations="datasets/coco/annotations/instances_train2017.json",
)
dataloader.train.mapper._target_ = CompressedDatasetMapper
dataloader.test.dataset = L(stored_dicts)(
    name="stored_val",
    location="stored/val2017",
    annotations="datasets/coco/annotations/instances_val2017.json",
)
dataloader.test.mapper._target_ = CompressedDatasetMapper
dataloader.evaluator = [
    L(COCOEvaluator)(dataset_name="${dataloader.test.dataset.name}"),
    L(CompressionEvaluator)(),
]
