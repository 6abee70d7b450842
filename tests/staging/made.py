"""Raw shards with closed-form samples, and runs of the real command on them."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

DATAFEED = str(Path(sys.executable).parent / "datafeed")


def image_of(i: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """The 8 x 8 image of sample i."""
    return ((np.arange(64) * 3 + i * 11) % 256).astype(np.uint8).reshape(8, 8)


def png_of(i: int, size: int = 8) -> bytes:
    """Its PNG, enlarged to another size if asked."""
    file = io.BytesIO()
    Image.fromarray(image_of(i)).resize((size, size)).save(file, "png")
    return file.getvalue()


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    """Write a tar of such members."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def members_of(start: int, stop: int) -> list[tuple[str, bytes]]:
    """Members of samples start to stop, in WebDataset naming."""
    members = []
    for i in range(start, stop):
        members += [(f"{i:06d}.png", png_of(i)), (f"{i:06d}.cls", str(i % 10).encode())]
    return members


def write_shards(folder: Path, n_shards: int, per_shard: int) -> list[Path]:
    """Write tar shards of consecutive samples."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"shard-{s:03d}.tar" for s in range(n_shards)]
    for s, path in enumerate(paths):
        write_tar(path, members_of(s * per_shard, (s + 1) * per_shard))
    return paths


def write_big_shards(folder: Path, n_shards: int) -> list[Path]:
    """Write tar shards of 5 MiB each, 10 samples, so that each is a split of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"shard-{s:03d}.tar" for s in range(n_shards)]
    for s, path in enumerate(paths):
        members = []
        for i in range(s * 10, s * 10 + 10):
            file = io.BytesIO()
            np.save(file, np.full(1 << 19, i % 251, np.uint8))
            members += [(f"{i:06d}.data.npy", file.getvalue()), (f"{i:06d}.cls", b"%d" % i)]
        write_tar(path, members)
    return paths


def datafeed(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the installed command."""
    return subprocess.run(
        [DATAFEED, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
