"""Tar shards by WebDataset's naming: ``dir/000.png`` and ``dir/000.cls`` are one sample.

Members whose names are equal up to the first dot of the last part, and that follow one another,
are one sample. https://github.com/webdataset/webdataset describes the convention.
"""

import tarfile
from collections.abc import Iterator
from itertools import groupby
from typing import BinaryIO

from datafeed.errors import FormatError
from datafeed.formats.base import Format, Found, Span
from datafeed.formats.compression import decompressed, decompressed_head, reading
from datafeed.formats.decode import decoded
from datafeed.sources.base import Source
from datafeed.sources.urls import basename

__all__ = ["TarFormat"]

_PIECE_BYTES = 1 << 20
_SKIPPED_FOLDERS = {"__MACOSX", "PaxHeader", "PaxHeaders"}
_Member = tuple[str, str, bytes]
"""Key, extension (as ``png`` or ``left.png``), content."""


class TarFormat(Format):
    """Reads tar, plain or compressed by gzip, bzip2 or xz."""

    name = "tar"

    def matches(self, url: str, head: bytes) -> bool:
        """Whether the first header's checksum is right, whatever the kind of tar.

        Where the head tells nothing (bzip2, or an archive of no members), the name decides.
        """
        header = decompressed_head(head)[: tarfile.BLOCKSIZE]
        try:
            tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return not any(header) and bool(head) and ".tar" in basename(url)
        return True

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Give (key, sample) in file order, one sample in memory at a time."""
        with source.open(url) as file, reading(url), decompressed(file) as plain:
            members = _members(plain, url)
            for key, group in groupby(members, lambda member: member[0]):
                where = f"{url}: sample {key!r}"
                yield key, decoded([(extension, data) for _, extension, data in group], where)


class _StrictTarInfo(tarfile.TarInfo):
    """A header that must be there, whole and right: tarfile would take the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictTarInfo":
        if len(buf) < tarfile.BLOCKSIZE:
            raise EOFError("no end marker")
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):
                raise  # the end marker
            raise tarfile.ReadError(str(error)) from error


def _members(file: BinaryIO, url: str) -> Iterator[_Member]:
    with tarfile.open(fileobj=file, mode="r:", tarinfo=_StrictTarInfo, errors="strict") as tar:
        for info in tar:
            tar.members = []  # type: ignore[attr-defined]  # it would keep every header
            key, extension = _cut(info.name)
            if info.isdir() or not extension:
                continue
            content = tar.extractfile(info) if info.isreg() else None
            if content is None:
                raise FormatError(
                    f"{url}: member {info.name!r} is a link or device; write the file itself, as "
                    "`tar --dereference --hard-dereference` does"
                )
            yield key, extension, content.read()
        _require_end(file, url)


def _cut(name: str) -> tuple[str, str]:
    """Cut a member's name into key and extension; no extension: not part of any sample."""
    folder, _, last = name.removeprefix("./").rpartition("/")
    stem, _, extension = last.partition(".")
    if not stem or _SKIPPED_FOLDERS.intersection(
        part.partition(".")[0] for part in folder.split("/")
    ):
        return "", ""
    return f"{folder}/{stem}" if folder else stem, extension


def _require_end(file: BinaryIO, url: str) -> None:
    """Read to the end: nothing may follow, and a compressed file's own checksum is checked."""
    while piece := file.read(_PIECE_BYTES):
        if piece.strip(b"\0"):
            raise FormatError(
                f"{url}: more follows the end marker, as when archives are put together by `cat`; "
                "use `tar --concatenate`, or stage them one by one"
            )
