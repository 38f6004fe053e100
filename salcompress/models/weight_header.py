"""What a weight file says of itself, read from its header alone, without torch."""

from pathlib import Path

from safetensors import SafetensorError, safe_open


def read_weight_metadata(path: Path | str) -> dict[str, str]:
    """The texts beside the tensors of a weight file of ours, as its writer gave them.

    The tensors are not read, so that ``digest`` is what the file says, and not what it holds:
    :func:`salcompress.models.weight_file.read_weight_file` compares the two.

    Returns:
        The texts by name; none where the file is no safetensors file, or cannot be read.
    """
    try:
        with safe_open(path, "np") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}
