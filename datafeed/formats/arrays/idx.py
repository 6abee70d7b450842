"""IDX, the format of MNIST: a file of images and a file of labels, plain or compressed.

A header of two zero bytes, a type and the number of dimensions, the dimensions as 32-bit
big-endian numbers, then the values; http://yann.lecun.com/exdb/mnist/ describes it.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

import numpy as np

from datafeed.errors import FormatError
from datafeed.feed.schema import Array, Sample
from datafeed.formats.base import Format, Span
from datafeed.formats.parsing.compression import decompressed, reading
from datafeed.sources.base import MissingFileError, Source
from datafeed.sources.urls import basename, join, parent

__all__ = ["IdxFormat"]

_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MAX_DIMENSIONS = 8
_MAX_ITEM_BYTES = 1 << 30
_PIECE_BYTES = 1 << 20


class IdxFormat(Format):
    """Reads ``...-images-idx3-ubyte`` with its ``...-labels-idx1-ubyte``, also ``.gz``."""

    name = "idx"
    can_be_compressed = True

    def matches(self, url: str, head: bytes) -> bool:
        """Whether the header is one of IDX."""
        return head[:2] == b"\0\0" and _is_header(head[2:4])

    def shards(self, urls: Sequence[str]) -> list[str]:
        """The files of images; files of labels go with them.

        Raises:
            FormatError: a file of labels lacks its images.
        """
        partners = {_labels_of(url) for url in urls if not _is_labels(url)}
        for url in urls:
            if _is_labels(url) and url not in partners:
                raise FormatError(f"{url}: labels without their images; name both, or the folder")
        return [url for url in urls if not _is_labels(url)]

    def samples(
        self, source: Source, url: str, span: Span | None = None
    ) -> Iterator[tuple[str, Sample]]:
        """Return (number, {"image", "label"}) in file order, 1 MiB in memory at a time."""
        labels_url = _labels_of(url)
        with ExitStack() as stack:
            images = _File.open(source, url, stack)
            labels = _open_labels(source, url, labels_url, stack)
            if images.n != labels.n:
                raise FormatError(
                    f"{labels_url}: holds {labels.n} labels for {images.n} images of {url}; fetch "
                    "both again"
                )
            width = max(5, len(str(images.n - 1)))
            pairs = zip(images.items(), labels.items(), strict=True)
            for i, (image, label) in enumerate(pairs):
                yield f"{i:0{width}d}", {"image": image, "label": np.int64(label)}


@dataclass(frozen=True)
class _File:
    """One opened IDX file; its header is read and makes sense."""

    url: str
    file: BinaryIO
    dtype: str
    n: int
    shape: tuple[int, ...]

    @classmethod
    def open(cls, source: Source, url: str, stack: ExitStack) -> "_File":
        raw = stack.enter_context(source.open(url))
        with reading(url):
            file = stack.enter_context(decompressed(raw))
            zeros, kind = _read(file, 2), _read(file, 2)
            if zeros != b"\0\0" or not _is_header(kind):
                raise FormatError(f"{url}: is not IDX; give --format, or leave it out")
            n, *shape = struct.unpack(f">{kind[1]}I", _read(file, 4 * kind[1]))
        opened = cls(url, file, _TYPES[kind[0]], n, tuple(shape))
        if opened.item_bytes > _MAX_ITEM_BYTES:
            raise FormatError(f"{url}: items of {opened.item_bytes} bytes; its header is damaged")
        return opened

    @property
    def item_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * prod(self.shape)

    def items(self) -> Iterator[Array]:
        """Return the items, of native byte order; raise where the file ends too early or too
        late."""
        per_piece = max(1, _PIECE_BYTES // max(1, self.item_bytes))
        native = np.dtype(self.dtype).newbyteorder("=")
        for start in range(0, self.n, per_piece):
            n = min(per_piece, self.n - start)
            with reading(self.url):
                data = _read(self.file, n * self.item_bytes)
            piece = np.frombuffer(data, self.dtype).reshape(n, *self.shape)
            yield from (item.astype(native) for item in piece)
        with reading(self.url):
            if self.file.read(1):
                raise FormatError(f"{self.url}: is longer than the {self.n} items of its header")


def _open_labels(source: Source, images_url: str, url: str, stack: ExitStack) -> _File:
    try:
        labels = _File.open(source, url, stack)
    except MissingFileError as error:
        raise FormatError(
            f"{images_url}: its labels {url} are missing; put them beside it"
        ) from error
    if labels.shape or labels.dtype.startswith(">f"):
        raise FormatError(f"{url}: holds no row of whole numbers, so it cannot be the labels")
    return labels


def _is_header(kind: bytes) -> bool:
    return len(kind) == 2 and kind[0] in _TYPES and 1 <= kind[1] <= _MAX_DIMENSIONS


def _is_labels(url: str) -> bool:
    return "labels" in basename(url)


def _labels_of(url: str) -> str:
    name = basename(url)
    if "images" not in name:
        raise FormatError(
            f"{url}: its labels cannot be told from its name; call them ...images-idx3-ubyte and "
            "...labels-idx1-ubyte"
        )
    return join(parent(url), name.replace("images", "labels").replace("idx3", "idx1"))


def _read(file: BinaryIO, n_bytes: int) -> bytes:
    data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise EOFError
    return data
