"""The one reader and writer of weight files: safetensors, and the files that torch writes.

A weight file of ours is a safetensors file. Its metadata holds a text that says what the tensors
are for: a network's config, or a training's progress. It holds a digest of that text and of the
tensors, too. Files of others, such as a detector's state dict, hold tensors alone. Nothing is ever
unpickled but tensors.

The tensors of a file of ours are packed (:mod:`salcompress.models.packed_tensors`), and one of the
name NAME may be in 8 bits, with its steps as ``NAME.step`` (:mod:`salcompress.models.eight_bits`).
Readers of this module give tensors back as they are used. Files of before, whose tensors are not
packed, are read as well.

What a file is known by is its :func:`fingerprint`. It is of the content, so a copy under another
path has the same one.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from salcompress.errors import DataError, SettingError
from salcompress.files import digest
from salcompress.models.eight_bits import from_eight_bits, to_eight_bits
from salcompress.models.packed_tensors import pack, unpack

_STEP = ".step"


class WeightFile(NamedTuple):
    """What a weight file of ours holds."""

    tensors: dict[str, Tensor]
    """By name, in the types in which they are stored, on the CPU; those in 8 bits as float32."""
    metadata: dict[str, str]
    """The texts beside the tensors, as the writer gave them; and the digest."""
    fingerprint: str
    """64 hexadecimal digits, see :func:`fingerprint`."""


def fingerprint(tensors: Mapping[str, Tensor], about: str = "") -> str:
    """SHA-256 of what tensors are, as 64 hexadecimal digits.

    It is of ``about``, and of each tensor's name and values in the order of the names. Real values
    count as float32, in which they are used, so a file in half precision or in 8 bits has the
    fingerprint of its float32 copy. Without ``about``, the tensors' shapes stand in its place.
    (With it they need not: a config says which shapes fit.) Our choice.

    >>> half = {"bias": torch.ones(3, dtype=torch.float16)}
    >>> fingerprint(half) == fingerprint({"bias": torch.ones(3)})
    True

    Args:
        tensors: By name, of any types, on the CPU.
        about: What the tensors are for.
    """
    shapes = json.dumps({name: list(tensors[name].shape) for name in sorted(tensors)})
    return digest(about or shapes, *_parts(tensors, as_stored=False))


def weight_file(
    tensors: Mapping[str, Tensor], in_8_bits: Collection[str] = (), **metadata: str
) -> bytes:
    """A weight file of ours. The same arguments give the same bytes.

    Args:
        tensors: By name; they are stored in the types that they have.
        in_8_bits: Names of those that are rounded to 8 bits instead, convolutions' weights with the
            output channels first.
        metadata: Texts to store beside the tensors. One of them may say what they are for: a
            network's ``config``, or what a training's state is ``about``.
    """
    stored = {}
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if name in in_8_bits:
            stored[name], stored[name + _STEP] = to_eight_bits(value)
        else:
            stored[name] = value
    about = {**metadata, "digest": fingerprint(_real(stored), _about(metadata))}
    return _in_order(save(pack(stored), about))


def read_weight_file(path: Path | str, what: str) -> WeightFile:
    """A weight file of ours, checked against its digest.

    Args:
        path: The file.
        what: Whose weights they are, for errors: "a codec".

    Raises:
        SettingError: There is no such file.
        DataError: The file is no weight file of ours, or it is damaged.
    """
    _check_is_file(path)
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            expected = metadata["digest"]
            stored = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, AttributeError) as error:
        raise DataError(
            f"{path}: not {what}'s weights file: {_first_line(error)}; choose one that "
            "salcompress wrote"
        ) from error
    damaged = DataError(
        f"{path} is damaged: its weights do not match their digest; install or train it anew"
    )
    try:
        tensors = _real(unpack(stored))
    except ValueError as error:
        raise damaged from error
    found = fingerprint(tensors, _about(metadata))
    if expected != found and expected not in _former_digests(tensors, _about(metadata)):
        raise damaged
    return WeightFile(tensors, metadata, found)


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a file of anyone: safetensors, or what ``torch.save`` wrote of a state dict.

    A checkpoint of a training, which holds its state dict as ``"model"``, gives that.

    Returns:
        By name, on the CPU; real values as float32.

    Raises:
        SettingError: There is no such file.
        DataError: The file is damaged, or holds more than tensors.
    """
    _check_is_file(path)
    try:
        if str(path).endswith(".safetensors"):
            tensors = _real(unpack(load_file(path)))
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
            tensors = tensors.get("model", tensors)
        return {
            name: value.float() if value.is_floating_point() else value
            for name, value in tensors.items()
        }
    except (
        SafetensorError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        AttributeError,
        ModuleNotFoundError,
    ) as error:
        raise DataError(f"{path}: not a weights file: {_first_line(error)}") from error
    except Exception as error:  # pickle.UnpicklingError and its kin carry a page of advice
        raise DataError(f"{path}: not a weights file: {type(error).__name__}") from error


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Give a model, in place, tensors that must fit it exactly.

    The model comes to hold float32 whatever torch's default type is. A tensor in half precision
    would otherwise be rounded a second time on its way into a model that was made in bfloat16.

    Args:
        model: Its parameters and buffers are overwritten.
        tensors: By name, as in the model's state dict.
        path: The file that they come from, for errors.

    Raises:
        DataError: A name or a shape does not fit, or a value is not finite.
    """
    model.float()
    real = {name: value for name, value in tensors.items() if value.is_floating_point()}
    if not all(torch.isfinite(value).all() for value in real.values()):
        raise DataError(f"{path} holds weights that are not finite; install or train it anew")
    try:
        model.load_state_dict(
            {name: value.float() for name, value in real.items()}
            | {name: value for name, value in tensors.items() if name not in real}
        )
    except RuntimeError as error:
        raise DataError(
            f"{path} does not fit the model: {' '.join(str(error).split())[:200]}"
        ) from error


def _about(metadata: Mapping[str, str]) -> str:
    """What the tensors of a file are for, as its metadata says it."""
    return metadata.get("config", metadata.get("about", ""))


def _real(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors, of which those in 8 bits become float32."""
    steps = {
        name: stored[name + _STEP]
        for name, value in stored.items()
        if value.dtype == torch.int8 and name + _STEP in stored
    }
    return {
        name: from_eight_bits(value, steps[name]) if name in steps else value
        for name, value in stored.items()
        if not (name.endswith(_STEP) and name.removesuffix(_STEP) in steps)
    }


def _in_order(file: bytes) -> bytes:
    """A safetensors file whose texts come in the order of their names.

    The library writes them in an order that is drawn anew each time.
    """
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # as the format wants it
    return len(text).to_bytes(8, "little") + text + file[end:]


def _parts(tensors: Mapping[str, Tensor], as_stored: bool) -> Iterator[str | bytes]:
    for name in sorted(tensors):
        value = tensors[name].detach().cpu()
        if value.is_floating_point() and not as_stored:
            value = value.float()
        yield name
        yield value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _former_digests(tensors: Mapping[str, Tensor], about: str) -> Iterator[str]:
    """Digests that files of before there was one reader hold: of a saliency network and of a
    training's state, and of a perceptual metric.
    """
    yield digest(about, *_parts(tensors, as_stored=True))
    yield digest(*_parts(tensors, as_stored=False))


def _check_is_file(path: Path | str) -> None:
    if not Path(path).is_file():
        found = "is a folder, and a file is wanted" if Path(path).is_dir() else "does not exist"
        raise SettingError(f"weights file {path} {found}")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
