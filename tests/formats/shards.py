"""Shards made for tests, by Python's tarfile and by GNU tar."""

import io
import struct
import subprocess
import tarfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from datafeed.feed.schema import Array, Sample
from datafeed.formats import Format, Span, good_samples
from datafeed.sources import open_source

Member = tuple[str, bytes]


def tar_bytes(members: Iterable[Member], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of (name, content) pairs, by Python's tarfile."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def gnu_tar(
    folder: Path, members: Iterable[Member], *options: str, also: Iterable[str] = ()
) -> bytes:
    """A tar of (name, content) pairs, and of other names, in this order, by the command ``tar``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, data in members:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        names.append(name)
    command = ["tar", *options, "-C", str(folder), "-cf", "-", "--", *names, *also]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def png(pixels: Array) -> bytes:
    """One PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def idx_bytes(values: Array) -> bytes:
    """One IDX file of uint8 or big-endian values."""
    kind = {"|u1": 8, ">i2": 11, ">i4": 12, ">f4": 13}[values.dtype.str]
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape)
    return header + values.tobytes()


def read(form: Format, path: Path) -> list[tuple[str, Sample]]:
    """All samples of a local shard."""
    return list(good_samples(form.samples(open_source(str(path)), str(path)), 0))


def read_bytes(
    form: Format, folder: Path, data: bytes, name: str = "shard.tar"
) -> list[tuple[str, Sample]]:
    """All samples of a shard of these bytes."""
    (folder / name).write_bytes(data)
    return read(form, folder / name)


def numbered(n: int) -> list[tuple[str, Array, int]]:
    """Key, image and label of n samples; both tell the number."""
    return [(f"{i:04d}", np.full((4, 5), i, np.uint8), i % 10) for i in range(n)]


def read_spans(form: Format, path: Path, cuts: Iterable[int]) -> list[tuple[str, Sample]]:
    """All samples of a local shard, staged in pieces."""
    borders = [0, *cuts, path.stat().st_size]
    source = open_source(str(path))
    return [
        sample
        for start, stop in pairwise(borders)
        for sample in good_samples(form.samples(source, str(path), Span(start, stop)), 0)
    ]
