"""Image files to .salc streams and back, whole folders at a time.

``find_files`` collects what a user names, ``output_paths`` says what each becomes,
``encode_files`` and ``decode_files`` do the work, and ``summary.csv`` holds a row for each stream.
"""

from salcompress.codecs.stream_files.decode import decode_files
from salcompress.codecs.stream_files.encode import encode_files
from salcompress.codecs.stream_files.inputs import InputFile, find_files
from salcompress.codecs.stream_files.outcome import Outcome, PartlyDoneError
from salcompress.codecs.stream_files.summary import EncodedFile, read_summary

__all__ = [
    "EncodedFile",
    "InputFile",
    "Outcome",
    "PartlyDoneError",
    "decode_files",
    "encode_files",
    "find_files",
    "read_summary",
]
