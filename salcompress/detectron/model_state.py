"""Checkpoints that a codec with a detector behind it can begin with."""

import logging

from torch import Tensor

from salcompress.errors import SettingError

logger = logging.getLogger(__name__)


def adapt_state(state: dict[str, Tensor], own: dict[str, Tensor], prefix: str) -> None:
    """Make a checkpoint fit, in place.

    * The checkpoint of a detector alone becomes that of the detector behind the codec as it is.
    * A tensor of the detector that has another shape is left out, as Detectron2 does for a detector
      alone; here it does not know the names.

    Args:
        state: Tensors by name, as ``load_state_dict`` has them.
        own: Those that the model has, without ``prefix``.
        prefix: Of the model's names in ``state``.

    Raises:
        SettingError: The checkpoint's codec is of another config.
    """
    names = [name for name in state if name.startswith(prefix)]
    parts = {name.removeprefix(prefix).partition(".")[0] for name in names}
    if not parts & {"codec", "detector"}:
        for name in names:
            state[f"{prefix}detector.{name.removeprefix(prefix)}"] = state.pop(name)
    if "codec" not in parts:
        state.update({f"{prefix}{name}": v for name, v in own.items() if name.startswith("codec.")})
    for name, value in own.items():
        given = state.get(f"{prefix}{name}")
        if name.startswith("detector.") and given is not None and given.shape != value.shape:
            logger.warning(
                "%s stays as it is: %s in the checkpoint, %s in the model",
                name,
                tuple(given.shape),
                tuple(value.shape),
            )
            del state[f"{prefix}{name}"]
    _check_codec(state, own, prefix)


def _check_codec(state: dict[str, Tensor], own: dict[str, Tensor], prefix: str) -> None:
    given = {
        name.removeprefix(prefix): value.shape
        for name, value in state.items()
        if name.startswith(f"{prefix}codec.networks.")
    }
    wanted = {
        name: value.shape for name, value in own.items() if name.startswith("codec.networks.")
    }
    other = [name for name in wanted | given if wanted.get(name) != given.get(name)]
    if other:
        raise SettingError(
            "the checkpoint's codec is of another config than the weights that MODEL.CODEC "
            f"begins with ({min(other)} does not fit); begin with weights of the checkpoint's "
            "config"
        )
