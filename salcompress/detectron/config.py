"""The one node that salcompress adds to a Detectron2 config, and how configs are read."""

from pathlib import Path

from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg

from salcompress.codecs import Codec, load_codec, with_cache
from salcompress.detectron.augmentation import RandomCompression
from salcompress.errors import SettingError

STAGES = ("mapper", "gpu", "model")


def add_salcompress_config(cfg: CfgNode) -> None:
    """Add ``cfg.SALCOMPRESS`` with its defaults, which change nothing; call it before merging
    files.
    """
    node = cfg.SALCOMPRESS = CfgNode()
    # Where pictures are compressed. "mapper": in the loader's processes, one by one. "gpu": behind
    # the loader, in batches on the codec's device. "model": by a differentiable codec that is a
    # part of the model (see MODEL).
    node.STAGE = "mapper"
    # The codec of training images, before any resize: a specification such as "jpeg:q=30" or
    # "salient:weights=photo,q=0.3". Stage "model" has MODEL.CODEC in its place.
    node.TRAIN_CODEC = "none"
    # The codec of test images.
    node.TEST_CODEC = "none"
    # A training-time augmentation, after TRAIN_CODEC: one of these settings is drawn for each
    # image. A list of values counts as that many settings, so that ["jpeg:q=10,30", "webp:q=10"]
    # draws each of three equally often. "none" leaves the image as it is.
    node.RANDOM_CODECS = []
    # How often an image is compressed by one of RANDOM_CODECS, in [0, 1]. Write 1.0, not 1: it is
    # a float.
    node.RANDOM_PROB = 1.0
    # Data sets that ``salcompress compress`` stored as streams, to be registered at start:
    # [name, folder, annotations] each. The weights of learned streams are found by themselves
    # where they have a name: in the model zoo, or in a folder of SALCOMPRESS_WEIGHTS.
    node.STORED = []
    # Folder that keeps the streams of TRAIN_CODEC, TEST_CODEC and SWEEP; empty for none. Stage
    # "mapper" alone keeps streams.
    node.CACHE_DIR = ""
    # Bound on that folder in MiB; 0 sets none.
    node.CACHE_MIB = 0
    # Specifications to evaluate at with --eval-only. Each setting makes a RatePoint row in
    # OUTPUT_DIR/sweep, as "salcompress evaluate" does, whatever the stage.
    node.SWEEP = []
    # In stage "gpu", while training: whether the learned codec writes real streams, whose length
    # then is the rate. Otherwise it counts their bits by the coder's integer tables, which is
    # faster and within 64 bits.
    node.TRAIN_STREAMS = False
    # The same for tests, in stages "gpu" and "model".
    node.TEST_STREAMS = True
    # In stage "gpu": how many test images make a batch. The detector sees them together, padded to
    # one size.
    node.TEST_BATCH = 1
    # In stage "gpu": whether the learned codec's transforms compute in bfloat16, which is quicker
    # on recent GPUs. Pixels are then a grey level or two apart.
    node.MIXED_PRECISION = False
    # In stage "gpu": how many batches are compressed ahead of the detector. -1 takes 2 on a GPU,
    # and 0 on the CPU.
    node.PREFETCH = -1

    model = node.MODEL = CfgNode()
    # The codec to begin with, "salient:...". Its q is the quality of tests; weights=NAME of the
    # model zoo, or weights=FILE, begins with other weights than "photo".
    model.CODEC = "salient:q=0.3"
    # What training changes: "codec" (for a detector as it is), "detector" (behind a codec as it is)
    # or "both".
    model.TRAINS = "codec"
    # Whether the detector's own losses teach, which need annotations. A codec can learn by
    # DISTILLATION_WEIGHT alone.
    model.LABELS = True
    # Weight of the estimated bits per pixel in the loss.
    model.RATE_WEIGHT = 1.0
    # Weight of the squared error, in units of the codec's own training (lambda by quality).
    model.DISTORTION_WEIGHT = 0.1
    # Squared errors at the most salient places count 1 plus this as much as at the least.
    model.SALIENCY_WEIGHT = 0.0
    # Squared 8-bit error that a distance of 1 by the perceptual metric counts as; 0 leaves the
    # metric out.
    model.PERCEPTUAL_WEIGHT = 0.0
    # Bits per pixel, at the middle quality, that one unit of the detector's losses is worth to the
    # codec.
    model.TASK_WEIGHT = 1.0
    # The same for one unit of the relative squared difference of the detector's backbone features;
    # 0 compares none.
    model.DISTILLATION_WEIGHT = 0.0
    # Names of the features that are compared; an empty list takes all that the backbone gives.
    model.DISTILLATION_FEATURES = []
    # Range of the qualities that training draws from, [low, high], from iteration QUALITY_ITERS on.
    model.QUALITY = [0.0, 0.4]
    # The range at the first iteration; it moves linearly to QUALITY.
    model.QUALITY_START = [0.0, 0.4]
    # In how many iterations it moves there.
    model.QUALITY_ITERS = 0
    # Learning rate of the codec. The optimizer is AdamW without weight decay; it clips the norm of
    # the gradients to SOLVER.CLIP_GRADIENTS.CLIP_VALUE, or to 1 where that is not enabled.
    model.CODEC_LR = 1e-4
    # Learning rate of a detector that is trained with the codec. A detector that is trained alone
    # has the optimizer of SOLVER.
    model.DETECTOR_LR = 1e-4
    # Whether the codec's transforms compute in bfloat16 while training; its prior never does.
    model.MIXED_PRECISION = True
    # Iterations between measured rates, pictures and maps of bits in the logs; 0 logs none.
    model.LOG_PERIOD = 200


def check_config(cfg: CfgNode) -> None:
    """Raise unless the stage is known, and no setting would be without effect in it.

    Raises:
        SettingError: The stage is unknown, or CACHE_DIR, TRAIN_CODEC, TEST_CODEC, RANDOM_CODECS or
            TEST.AUG is of another one.
    """
    node = cfg.SALCOMPRESS
    if node.STAGE not in STAGES:
        raise SettingError(
            f"SALCOMPRESS.STAGE must be one of {', '.join(STAGES)}, got {node.STAGE!r}"
        )
    if node.STAGE != "mapper" and node.CACHE_DIR:
        raise SettingError(
            f"SALCOMPRESS.CACHE_DIR is of stage mapper; stage {node.STAGE} keeps no streams"
        )
    if node.STAGE == "model" and cfg.TEST.AUG.ENABLED and not len(node.SWEEP):
        raise SettingError(
            "TEST.AUG is of Detectron2's GeneralizedRCNN, and in stage model a codec stands before "
            "it: set TEST.AUG.ENABLED to False, or test the detector alone at stage mapper"
        )
    if node.STAGE == "model" and (
        node.TRAIN_CODEC != "none" or node.TEST_CODEC != "none" or len(node.RANDOM_CODECS)
    ):
        raise SettingError(
            "stage model compresses by SALCOMPRESS.MODEL.CODEC; set TRAIN_CODEC and TEST_CODEC "
            "to none and RANDOM_CODECS to []"
        )


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
        raise SettingError(
            f"SALCOMPRESS.CACHE_MIB must be at least 0, got {cfg.SALCOMPRESS.CACHE_MIB}"
        )
    return with_cache(
        codec, cfg.SALCOMPRESS.CACHE_DIR or None, cfg.SALCOMPRESS.CACHE_MIB * 2**20 or None
    )


def configured_random_compression(cfg: CfgNode) -> RandomCompression | None:
    """The training-time augmentation, None where no codec is listed for it.

    Raises:
        SettingError: A specification or the probability is wrong.
    """
    if not len(cfg.SALCOMPRESS.RANDOM_CODECS):
        return None
    return RandomCompression(
        cfg.SALCOMPRESS.RANDOM_CODECS, cfg.SALCOMPRESS.RANDOM_PROB, cfg.INPUT.FORMAT
    )


def load_config(name: str) -> CfgNode:
    """A config, salcompress's node included, from a YAML file or a name of the model zoo.

    Raises:
        SettingError: Neither exists, or the file is no YAML config of Detectron2's keys.
    """
    cfg = get_cfg()
    add_salcompress_config(cfg)
    merge_file(cfg, config_path(name))
    return cfg


def merge_file(cfg: CfgNode, path: str) -> None:
    """Merge a YAML file over a config.

    Raises:
        SettingError: The file is a LazyConfig or no YAML, or a key or value of it is unknown.
    """
    if path.endswith(".py"):
        raise SettingError(
            f"{path} is a LazyConfig, and a YAML config is meant here: train and evaluate it by "
            "tools/lazyconfig_train_net.py"
        )
    try:
        cfg.merge_from_file(path)
    except Exception as error:  # YAML's, yacs's and Detectron2's are of many kinds
        raise SettingError(f"{path} is no config of these keys: {_first_line(error)}") from error


def merge_options(cfg: CfgNode, options: list[str]) -> None:
    """Merge KEY VALUE pairs of a command line over a config.

    Raises:
        SettingError: A key is unknown, or a value is missing or of another type.
    """
    try:
        cfg.merge_from_list(options)
    except (AssertionError, KeyError, ValueError) as error:
        raise SettingError(
            f"the options {' '.join(options)} are no KEY VALUE pairs of the config: "
            f"{_first_line(error)}"
        ) from error


def config_path(name: str) -> str:
    """File of a config given as a file or by its name in the model zoo.

    Raises:
        SettingError: Neither exists.
    """
    if Path(name).is_file():
        return name
    try:
        path = model_zoo.get_config_file(name)
    except RuntimeError:
        path = ""
    if not Path(path).is_file():
        raise SettingError(
            f"{name!r} is neither a config file nor a config of Detectron2's model zoo"
        )
    return path


def _first_line(error: Exception) -> str:
    return str(error.args[0] if error.args else error).strip().splitlines()[0]
