"""NPZ and NPY, numpy's own files: the first axis of every array is the sample."""

import io
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import BinaryIO, cast

import numpy as np

from datafeed.errors import ConfigError, FormatError
from datafeed.formats.arrays.npy import NPY_MAGIC, Layout, layout_of
from datafeed.formats.base import Format, Found, Span, even_cuts
from datafeed.formats.parsing.compression import reading
from datafeed.formats.parsing.field_names import field_names
from datafeed.formats.tables.row_shards import (
    block_rows,
    common_length,
    row_range,
    rows_of,
    values_of,
)
from datafeed.sources.base import Source
from datafeed.sources.buffered_file import by_ranges

__all__ = ["NpzFormat"]

_ZIP_MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<26xHH")
_HEADER_BYTES = 12
_CHOOSE = "--format \"npz(arrays=['...'])\""
_NPY_FIELD = "npy"
_ERRORS = (zipfile.BadZipFile, RuntimeError, ValueError, LookupError, OverflowError, struct.error)


class NpzFormat(Format):
    """Reads ``.npz`` (stored or deflated) and ``.npy``; never a pickle.

    Args:
        arrays: Which arrays of an ``.npz``; None: all.
    """

    name = "npz"

    def __init__(self, arrays: Sequence[str] | None = None) -> None:
        self._arrays = None if arrays is None else list(arrays)

    def matches(self, url: str, head: bytes) -> bool:
        """Whether it is NPY, or a zip whose first file is."""
        if not head.startswith(_ZIP_MAGIC):
            return head.startswith(NPY_MAGIC)
        n_name, _ = _LOCAL_HEADER.unpack_from(head.ljust(30))
        return head[30 : 30 + n_name].endswith(b".npy")

    def settled(self, source: Source, urls: Sequence[str]) -> str:
        """The arrays are kept."""
        return self.name if self._arrays is None else f"{self.name}(arrays={self._arrays!r})"

    def cuts(self, source: Source, url: str, size: int, target_bytes: int) -> list[int]:
        """Between any rows, where nothing is deflated."""
        with _opened(source, url, self._arrays) as arrays:
            can_be_cut = all(array.is_stored for array in arrays)
        return even_cuts(size, target_bytes) if can_be_cut else []

    def count(self, source: Source, url: str) -> int | None:
        """The rows of its arrays."""
        with _opened(source, url, self._arrays) as arrays:
            return common_length({array.name: array.layout[0] for array in arrays}, url, _CHOOSE)

    def samples(self, source: Source, url: str, span: Span | None = None) -> Iterator[Found]:
        """Return (number of the row, sample), some MiB of each array in memory at a time."""
        by_offset = span is not None
        opened = _opened(source, url, self._arrays, by_offset=by_offset)
        with opened as arrays, reading(url, _ERRORS):
            n = common_length({array.name: array.layout[0] for array in arrays}, url, _CHOOSE)
            start, stop = row_range(span, n, source.stat(url).size)
            names = field_names((array.name for array in arrays), url)
            columns = [array.rows(start, stop) for array in arrays]
            yield from rows_of(list(zip(names, columns, strict=True)), start, url)
            if span is None:
                for array in arrays:
                    array.require_end()


@dataclass(frozen=True)
class _Array:
    """One array of a shard, opened behind its header."""

    name: str
    file: BinaryIO
    layout: Layout
    is_stored: bool
    base: int
    """Where the array's header begins in the file."""

    @classmethod
    def open(
        cls, name: str, file: BinaryIO, url: str, *, is_stored: bool = True, base: int = 0
    ) -> "_Array":
        head = file.read(_HEADER_BYTES)
        if len(head) == _HEADER_BYTES and head.startswith(NPY_MAGIC):
            n_bytes = struct.unpack_from("<H" if head[6] == 1 else "<I", head, 8)[0]
            head += file.read(n_bytes - (2 if head[6] == 1 else 0))
        try:
            layout = layout_of(head)
        except ValueError as error:
            raise FormatError(f"{url}: the array {name!r} cannot be read: {error}") from error
        if layout[1] and len(layout[0]) > 1:
            raise FormatError(
                f"{url}: {name!r} is in Fortran's order, its samples do not lie together; save "
                "np.ascontiguousarray of it"
            )
        return cls(name, file, layout, is_stored, base)

    def rows(self, start: int, stop: int) -> Iterator[object]:
        (_, *shape), _, dtype, n_header = self.layout
        row_bytes = dtype.itemsize * prod(shape)
        if start:
            self.file.seek(self.base + n_header + start * row_bytes)
        step = block_rows(row_bytes)
        for first in range(start, stop, step):
            n = min(step, stop - first)
            data = self.file.read(n * row_bytes)
            if len(data) < n * row_bytes:
                raise EOFError("inside of an array")
            yield from values_of(np.frombuffer(data, dtype).reshape(n, *shape))

    def require_end(self) -> None:
        """Nothing may follow; zip checks its checksum at the end."""
        if self.file.read(1):
            raise ValueError(f"{self.name!r} is longer than its header says")


@contextmanager
def _opened(
    source: Source, url: str, names: Sequence[str] | None, *, by_offset: bool = False
) -> Iterator[list[_Array]]:
    with ExitStack() as stack:
        raw = stack.enter_context(by_ranges(source, url))
        with reading(url, _ERRORS):
            head = raw.read(len(NPY_MAGIC))
            raw.seek(0)
            if head == NPY_MAGIC:
                arrays = [_Array.open(_NPY_FIELD, raw, url)]
            else:
                archive = stack.enter_context(zipfile.ZipFile(raw))
                arrays = [
                    _open_member(archive, info, source, url, stack, by_offset)
                    for info in _members(archive, names, url)
                ]
        yield arrays


def _members(
    archive: zipfile.ZipFile, names: Sequence[str] | None, url: str
) -> list[zipfile.ZipInfo]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    for name in names or ():
        if name not in members:
            raise ConfigError(f"{url}: has no array {name!r}; it has {', '.join(members)}")
    return [members[name] for name in (members if names is None else names)]


def _open_member(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    source: Source,
    url: str,
    stack: ExitStack,
    by_offset: bool,
) -> _Array:
    """Open one array; zipfile reads a stored one from its start, so a piece goes by offset."""
    name = info.filename.removesuffix(".npy")
    is_stored = info.compress_type == zipfile.ZIP_STORED
    if not (by_offset and is_stored):
        member = cast(BinaryIO, stack.enter_context(archive.open(info)))
        return _Array.open(name, member, url, is_stored=is_stored)
    raw = stack.enter_context(by_ranges(source, url))
    raw.seek(info.header_offset)
    n_name, n_extra = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
    base = raw.seek(n_name + n_extra, io.SEEK_CUR)
    return _Array.open(name, raw, url, base=base)
