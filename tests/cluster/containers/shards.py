"""Write closed-form shards into HDFS; run on the gateway: ``shards.py URL N_SAMPLES N_SHARDS``."""

import io
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from reader import closed_form  # type: ignore[import-not-found]  # copied next to this file

from datafeed.sources import join, open_source


def main(url: str, n_samples: int, n_shards: int) -> None:
    """Write tar shards of ``data.npy`` and ``number.npy`` members."""
    target = open_source(url)
    target.mkdirs(url)
    per_shard = -(-n_samples // n_shards)
    with tempfile.TemporaryDirectory() as folder:
        for shard in range(n_shards):
            path = Path(folder) / f"shard-{shard:03d}.tar"
            with tarfile.open(path, "w") as tar:
                for number in range(shard * per_shard, min(n_samples, (shard + 1) * per_shard)):
                    add(tar, f"{number:07d}.data.npy", closed_form(number))
                    add(tar, f"{number:07d}.number.npy", np.int64(number))
            target.put(path, join(url, path.name))
            path.unlink()
    target.close()


def add(tar: tarfile.TarFile, name: str, value: object) -> None:
    """Add an array as a member."""
    data = io.BytesIO()
    np.save(data, np.asarray(value))
    info = tarfile.TarInfo(name)
    info.size = len(data.getvalue())
    tar.addfile(info, io.BytesIO(data.getvalue()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
