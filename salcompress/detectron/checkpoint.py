"""Weights that fit, or an error: no model is measured whose weights were drawn at random."""

from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from salcompress.detectron.model import CompressedDetector
from salcompress.errors import DataError, SettingError

_NAMED = 3
"""Missing parameters that a message lists."""


class WeightsCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, which refuses weights of another model.

    A checkpoint of stage "model" gives a detector without that stage its ``detector.`` part.
    (:class:`~salcompress.detectron.model.CompressedDetector` takes a checkpoint of a detector
    alone by itself.)

    Args:
        model: What is loaded into.
        save_dir: Folder of the checkpoints.
        complete: Every parameter must be in the file, as an evaluation needs it. Otherwise at least
            one must: a training may begin with the weights of a backbone alone.
        checkpointables: As of Detectron2's.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        complete: bool = False,
        **checkpointables: Any,
    ):
        super().__init__(model, save_dir, **checkpointables)
        self.complete = complete
        self._path = ""

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a file, or nothing where ``path`` is empty and a training begins from nothing.

        Raises:
            SettingError: There is no file and all weights are needed, or the file is of a training
                that cannot go on with this config.
            DataError: The file is missing or damaged, or its weights do not fit.
        """
        if not path and self.complete:
            raise SettingError(
                "MODEL.WEIGHTS is empty, and random weights measure nothing and teach no codec: "
                "give a checkpoint (MODEL.WEIGHTS model_final.pth, or train.init_checkpoint in a "
                "LazyConfig)"
            )
        if not path:
            return {}  # Detectron2 would say "from scratch", and the model may bring weights
        self._path = path
        try:
            return super().load(path, checkpointables)
        except (DataError, SettingError):
            raise
        except ValueError as error:
            if "parameter group" not in str(error):
                raise DataError(f"weights {path} cannot be loaded: {error}") from error
            raise SettingError(
                f"{path} is of a training that changed other weights than this one does: resume "
                "with the SALCOMPRESS.STAGE and MODEL.TRAINS that it began with, or begin anew, "
                f"with MODEL.WEIGHTS {path} and another OUTPUT_DIR"
            ) from error
        except Exception as error:  # network, pickle and format errors of many kinds
            reason = str(error).splitlines()[0] if str(error) else ""
            raise DataError(
                f"weights {path} cannot be loaded ({type(error).__name__}: {reason[:160]}); give "
                "a file that you have"
            ) from error

    def _load_model(self, checkpoint: Any) -> Any:
        if not isinstance(self.model, CompressedDetector):
            checkpoint["model"] = detector_part(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        wanted, missing = _missing_parameters(self.model, set(incompatible.missing_keys))
        if missing and (self.complete or len(missing) == wanted):
            listed = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
            raise DataError(
                f"weights {self._path} are of another model: {len(missing)} of its {wanted} "
                f"parameters are not in the file or of another shape ({listed}); give the weights "
                "of this config, or the config of these weights"
            )
        return incompatible


def load_for_evaluation(model: nn.Module, path: str) -> None:
    """Load all weights of a model that is to be measured.

    Raises:
        SettingError: ``path`` is empty.
        DataError: The file is missing, damaged, or of another model.
    """
    WeightsCheckpointer(model, complete=True).load(path, checkpointables=[])


def detector_part(state: dict[str, Any]) -> dict[str, Any]:
    """The detector's tensors of a checkpoint of stage "model"; those of any other as they are."""
    own = [name.removeprefix("module.") for name in state]
    if not any(name.startswith("codec.") for name in own) or not all(
        name.startswith(("codec.", "detector.")) for name in own
    ):
        return state
    return {
        name.removeprefix("detector."): value
        for name, value in zip(own, state.values())
        if name.startswith("detector.")
    }


def _missing_parameters(model: nn.Module, missing_keys: set[str]) -> tuple[int, list[str]]:
    """How many parameters a file should hold, and the names of those that it does not.

    A parameter with several names is there where one of them is. The codec of a
    :class:`CompressedDetector` does not count: without its tensors it stays as it is.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not (isinstance(model, CompressedDetector) and name.startswith("codec.")):
            names.setdefault(id(parameter), []).append(name)
    missing = [own[0] for own in names.values() if missing_keys.issuperset(own)]
    return len(names), missing
