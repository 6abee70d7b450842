"""Tar shards in WebDataset's naming: the members of one sample share their name up to a dot.

https://github.com/webdataset/webdataset describes it: ``img/0001.png`` and ``img/0001.cls`` are
two fields of the sample ``img/0001``.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import groupby
from typing import BinaryIO

from datafeed.errors import FormatError
from datafeed.formats.base import Format, Found, Span, even_cuts, head_of
from datafeed.formats.parsing.compression import decompressed, reading
from datafeed.formats.parsing.sliding_buffer import SlidingBuffer
from datafeed.formats.pictures.decode import decoded
from datafeed.formats.records.tar_headers import (
    BLOCK_BYTES,
    Header,
    TarError,
    find_header,
    headers,
    is_header,
)
from datafeed.sources.base import Source
from datafeed.sources.urls import basename

__all__ = ["TarFormat"]

_SKIPPED_FOLDERS = {"__MACOSX", "PaxHeader", "PaxHeaders"}
_Member = tuple[str, str, memoryview]
"""Key, extension (as ``png`` or ``left.png``), content."""


class TarFormat(Format):
    """Reads tar, plain or compressed by gzip, bzip2, xz or zstd.

    Args:
        decode: Whether images become arrays; else they stay as the bytes of their files.
    """

    name = "tar"
    can_be_compressed = True

    def __init__(self, decode: bool = True) -> None:
        self._decode = decode

    def matches(self, url: str, head: bytes) -> bool:
        """Whether the first header's checksum is right, whatever the kind of tar.

        An archive of no members is all zeros; then the name decides.
        """
        if is_header(head[:BLOCK_BYTES]):
            return True
        return bool(head) and not any(head) and ".tar" in basename(url)

    def settled(self, source: Source, urls: Sequence[str]) -> str:
        """Whether images are decoded is kept."""
        return self.name if self._decode else f"{self.name}(decode=False)"

    def cuts(self, source: Source, url: str, size: int, target_bytes: int) -> list[int]:
        """Anywhere, if it is not compressed and its headers can be told from contents."""
        head = head_of(source, url, BLOCK_BYTES)
        can_be_cut = is_header(head) and head[257:262] == b"ustar" and head[156] != ord("g")
        return even_cuts(size, target_bytes) if can_be_cut else []

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return (key, sample) in file order, one sample in memory at a time."""
        with ExitStack() as stack:
            raw = stack.enter_context(source.open(url))
            stack.enter_context(reading(url, (TarError,)))
            file = stack.enter_context(decompressed(raw))
            members = _piece(source, url, file, span) if span else _whole(file, url)
            for key, group in groupby(members, lambda member: member[0]):
                where = f"{url}: sample {key!r}"
                found = [(extension, data) for _, extension, data in group]
                yield key, decoded(found, where, images=self._decode)


def _whole(file: BinaryIO, url: str) -> Iterator[_Member]:
    window = SlidingBuffer(file)
    for header in headers(window):
        key, extension = _key_of(header)
        if extension:
            yield key, extension, _content(window, header, url)
    _require_end(window, url)


def _piece(source: Source, url: str, file: BinaryIO, span: Span) -> Iterator[_Member]:
    """Return the members of the samples between two borders.

    Where a piece begins is found by looking for a header, which the content of a member may
    counterfeit (a tar within the tar). So the task before, which knows the true headers from its
    own, checks that the border after it is what the next task takes for it; the first one begins
    at the true start.
    """
    start = find_header(file, span.start) if span.start else 0
    is_last = span.stop >= source.stat(url).size
    if start is None:
        return
    opening, closing = _Border(span.start), _Border(span.stop)
    is_open = not span.start
    file.seek(start)
    window = SlidingBuffer(file, start)
    for header in headers(window):
        is_open = is_open or opening.is_at(header)
        if not is_last and closing.is_at(header):
            return _require_border(source, url, span.stop, header.offset)
        key, extension = _key_of(header)
        if is_open and extension:
            yield key, extension, _content(window, header, url)
    if is_last:
        _require_end(window, url)
    else:
        _require_border(source, url, span.stop, None)


class _Border:
    """Tells where the first sample begins that belongs to the piece behind a cut.

    The first header behind the cut may lack its extended header, which holds its name; the second
    may belong to a sample that began before. So it is the first member with another key than the
    second has.
    """

    def __init__(self, cut: int) -> None:
        self._cut = cut
        self._n = 0
        self._key: str | None = None

    def is_at(self, header: Header) -> bool:
        """Whether this member, the next one of the archive, begins that sample."""
        if header.own_offset < self._cut:
            return False
        self._n += 1
        key, extension = _key_of(header)
        if self._n == 1 or not extension:
            return False
        if self._key is None:
            self._key = key
        return key != self._key


def _find_border(source: Source, url: str, cut: int) -> int | None:
    """Where the piece behind a cut begins, as the task of that piece finds it."""
    with source.open(url) as file:
        start = find_header(file, cut)
        if start is None:
            return None
        border = _Border(cut)
        file.seek(start)
        window = SlidingBuffer(file, start)
        found = (header.offset for header in headers(window) if border.is_at(header))
        return next(found, None)


def _require_border(source: Source, url: str, cut: int, true_border: int | None) -> None:
    try:
        found = _find_border(source, url, cut)
    except (EOFError, TarError, UnicodeDecodeError):
        found = -1
    if found != true_border:
        raise FormatError(
            f"{url}: cannot be cut at byte {cut}, where a member holds what looks like a tar's "
            "header; give --part-bytes of its size, so that it is staged as a whole"
        )


def _content(window: SlidingBuffer, header: Header, url: str) -> memoryview:
    if not header.is_file:
        raise FormatError(
            f"{url}: member {header.name!r} is a link or device; write the file itself, as "
            "`tar --dereference --hard-dereference` does"
        )
    return window.take(header.size)


def _key_of(header: Header) -> tuple[str, str]:
    """Cut a member's name into key and extension; no extension: not part of any sample."""
    if header.is_folder:
        return "", ""
    folder, _, last = header.name.removeprefix("./").rpartition("/")
    stem, _, extension = last.partition(".")
    if not stem or (folder and _is_skipped(folder)):
        return "", ""
    return f"{folder}/{stem}" if folder else stem, extension


@lru_cache(maxsize=16)
def _is_skipped(folder: str) -> bool:
    names = (part.partition(".")[0] for part in folder.split("/"))
    return not _SKIPPED_FOLDERS.isdisjoint(names)


def _require_end(window: SlidingBuffer, url: str) -> None:
    """Read to the end: nothing may follow, and a compressed file's own checksum is checked."""
    for piece in window.rest():
        if bytes(piece).strip(b"\0"):
            raise FormatError(
                f"{url}: more follows the end marker, as when archives are put together by `cat`; "
                "use `tar --concatenate`, or stage them one by one"
            )
