"""Tar shards for ``bench stage``: raw samples, images, and one of many GiB that is mostly holes."""

import io
import tarfile
from pathlib import Path

import numpy as np

__all__ = ["write_hollow", "write_images", "write_raw"]

_SIDE = 224


def write_raw(path: Path, n_bytes: int, sample_bytes: int) -> int:
    """Write random samples with a label each; give the bytes of the samples."""
    n = max(1, n_bytes // sample_bytes)
    rng = np.random.default_rng(1)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(n):
            _add(tar, f"{i:08d}.bin", rng.bytes(sample_bytes))
            _add(tar, f"{i:08d}.cls", b"%d" % (i % 1000))
    return n * sample_bytes


def write_images(path: Path, n: int, kind: str) -> int:
    """Write smooth colour images of 224 x 224, as photographs are; give their decoded bytes."""
    from PIL import Image

    rng = np.random.default_rng(2)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(n):
            small = Image.fromarray(rng.integers(0, 256, (14, 14, 3), np.uint8))
            file = io.BytesIO()
            small.resize((_SIDE, _SIDE)).save(file, "jpeg" if kind == "jpg" else kind)
            _add(tar, f"{i:06d}.{kind}", file.getvalue())
    return n * _SIDE * _SIDE * 3


def write_hollow(path: Path, n_bytes: int, sample_bytes: int) -> None:
    """Write samples of zeros as holes, so that many GiB take little room."""
    with path.open("wb") as file:
        for i in range(n_bytes // sample_bytes):
            header = tarfile.TarInfo(f"{i:08d}.bin")
            header.size = sample_bytes
            file.write(header.tobuf(tarfile.USTAR_FORMAT))
            file.seek(-(-sample_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, io.SEEK_CUR)
        file.write(bytes(2 * tarfile.BLOCKSIZE))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
