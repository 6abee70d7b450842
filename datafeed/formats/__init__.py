"""What shards are made of: each format turns the bytes of a shard into samples.

A format added here is a class like ``TarFormat`` and its line in ``FORMATS``.
"""

from datafeed.errors import ConfigError, FormatError
from datafeed.formats.base import Format, good_samples
from datafeed.formats.idx import IdxFormat
from datafeed.formats.tar import TarFormat
from datafeed.sources.base import Source

__all__ = ["FORMATS", "Format", "IdxFormat", "TarFormat", "detect", "get", "good_samples"]

FORMATS: dict[str, Format] = {form.name: form for form in (TarFormat(), IdxFormat())}
"""By the name that ``--format`` takes."""

_HEAD_BYTES = 1024


def get(name: str) -> Format:
    """Give the format of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FORMATS:
        raise ConfigError(f"--format {name}: unknown; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def detect(source: Source, url: str) -> Format:
    """Tell the format of a shard from its first bytes.

    Raises:
        FormatError: it is none of ours.
        SourceError: from the source.
    """
    with source.open(url) as file:
        head = file.read(_HEAD_BYTES)
    for form in FORMATS.values():
        if form.matches(url, head):
            return form
    what = "is empty" if not head else "is of no known format"
    raise FormatError(f"{url}: {what}; where that is wrong, give --format {'|'.join(FORMATS)}")
