"""What shards are made of: each format turns the bytes of a shard into samples.

A format added here is a class like ``TarFormat`` and its line in ``FORMATS``.
"""

from functools import lru_cache
from typing import BinaryIO

from datafeed.calls import parse_call
from datafeed.errors import ConfigError, FormatError
from datafeed.formats.arrays.hdf5 import Hdf5Format
from datafeed.formats.arrays.idx import IdxFormat
from datafeed.formats.arrays.npz import NpzFormat
from datafeed.formats.base import Format, Found, Span, good_samples
from datafeed.formats.parsing.compression import decompressed, is_compressed, reading
from datafeed.formats.pictures.imagefolder import ImageFolderFormat
from datafeed.formats.records.sequencefile import SequenceFileFormat
from datafeed.formats.records.tar import TarFormat
from datafeed.formats.records.tfrecord import TfRecordFormat
from datafeed.formats.tables.csv import CsvFormat
from datafeed.formats.tables.jsonl import JsonlFormat
from datafeed.formats.tables.parquet import ParquetFormat
from datafeed.sources.base import Source

__all__ = ["FORMATS", "Format", "Found", "Span", "detect", "get", "good_samples"]

_ALL: tuple[Format, ...] = (
    TarFormat(),
    ParquetFormat(),
    Hdf5Format(),
    NpzFormat(),
    TfRecordFormat(),
    SequenceFileFormat(),
    IdxFormat(),
    ImageFolderFormat(),
    JsonlFormat(),
    CsvFormat(),
)
"""In the order in which they are asked for a match: those last that know a shard by less."""
FORMATS: dict[str, Format] = {form.name: form for form in _ALL}
"""By the name that ``--format`` takes."""

_HEAD_BYTES = 1024


@lru_cache(maxsize=16)
def get(text: str) -> Format:
    """Return the format of a name, or of a name with settings, as ``csv(delimiter=';')``.

    Raises:
        ConfigError: there is none, or it takes no such settings.
    """
    call = parse_call(text, "--format")
    if call.name not in FORMATS:
        raise ConfigError(f"--format {call.name}: unknown; choose one of {', '.join(FORMATS)}")
    form = FORMATS[call.name]
    if not call.has_arguments:
        return form
    try:
        return type(form)(*call.args, **call.keywords)
    except TypeError as error:
        raise ConfigError(f"--format {text}: {error}; see docs/formats.md") from error


def detect(source: Source, url: str) -> Format:
    """Tell the format of a shard from its first bytes, or the first ones of what it compresses.

    Raises:
        FormatError: it is none of ours.
        SourceError: from the source.
    """
    with source.open(url) as file:
        head = file.read(_HEAD_BYTES)
        plain = _plain_head(file) if is_compressed(head) else b""
    for form in FORMATS.values():
        if form.matches(url, head) or (
            plain and form.can_be_compressed and form.matches(url, plain)
        ):
            return form
    what = "is empty" if not head else "is of no known format"
    raise FormatError(f"{url}: {what}; where that is wrong, give --format {'|'.join(FORMATS)}")


def _plain_head(file: BinaryIO) -> bytes:
    """Return the first plain bytes of a compressed shard; none where it only looks like one."""
    file.seek(0)
    try:
        with reading(""):
            return decompressed(file).read(_HEAD_BYTES)
    except FormatError:
        return b""
