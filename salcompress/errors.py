"""Every error that salcompress raises on purpose.

The command line prints the message of any of them in one line; a ``SettingError`` exits with code 2
(the call is wrong), all others with code 1 (the data or the machine is).
"""


class SalcompressError(Exception):
    """Base of all errors below."""


class SettingError(SalcompressError, ValueError):
    """An argument, a specification or an option cannot be used as given."""


class CodecUnavailableError(SettingError):
    """The codec exists, but this installation of its library lacks it."""


class DataError(SalcompressError):
    """An input file (image, annotations, weights, results) is missing, damaged or does not fit its
    companion.
    """


class OutputError(SalcompressError):
    """A result cannot be written."""


class BitstreamError(SalcompressError):
    """A compressed stream cannot be decoded."""


class TruncatedError(BitstreamError):
    """The stream ends too early."""


class CorruptError(BitstreamError):
    """The stream is damaged, or is not of this format."""


class ModelMismatchError(BitstreamError):
    """The stream was made by weights that are not at hand."""
