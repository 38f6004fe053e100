"""The one node that salcompress adds to a Detectron2 config."""
from detectron2.config import CfgNode

from salcompress.codecs import Codec, load_codec, with_cache
from salcompress.errors import SettingError


def add_salcompress_config(cfg: CfgNode) -> None:
    """Add ``cfg.SALCOMPRESS`` with its defaults, which change nothing; call it before merging files."""
    node = cfg.SALCOMPRESS = CfgNode()
    # What training images are compressed with, before any resize: a specification such as "jpeg:q=30".
    node.TRAIN_CODEC = "none"
    # The same for test images.
    node.TEST_CODEC = "none"
    # Training-time augmentation, after TRAIN_CODEC: specifications, of which one setting is drawn for each image. A list
    # of values counts as that many settings: ["jpeg:q=10,30", "webp:q=10"] draws each of three equally often.
    node.RANDOM_CODECS = []
    # How often an image is compressed by one of RANDOM_CODECS, in [0, 1]; a float: 1.0, not 1.
    node.RANDOM_PROB = 1.0
    # Folder that keeps the streams of TRAIN_CODEC and TEST_CODEC; empty for none.
    node.CACHE_DIR = ""
    # Bound on that folder in MiB; 0 for none.
    node.CACHE_MIB = 0
    # With --eval-only: specifications to evaluate at, one RatePoint row each, into OUTPUT_DIR/sweep.
    node.SWEEP = []


def configured_codec(cfg: CfgNode, is_train: bool) -> Codec:
    """The codec of training or of test images, cached where the config says so.

    Raises:
        SettingError: The specification or the bound is wrong.
    """
    codec = load_codec(cfg.SALCOMPRESS.TRAIN_CODEC if is_train else cfg.SALCOMPRESS.TEST_CODEC)
    return configured_cache(cfg, codec)


def configured_cache(cfg: CfgNode, codec: Codec) -> Codec:
    """The codec behind the config's cache, if there is one.

    Raises:
        SettingError: The bound is negative.
    """
    if cfg.SALCOMPRESS.CACHE_MIB < 0:
        raise SettingError(f"SALCOMPRESS.CACHE_MIB must be at least 0, got {cfg.SALCOMPRESS.CACHE_MIB}")
    return with_cache(codec, cfg.SALCOMPRESS.CACHE_DIR or None, cfg.SALCOMPRESS.CACHE_MIB * 2**20 or None)
