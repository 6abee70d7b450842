"""Shards on HDFS are read as those of local disks, whole and in pieces."""

import io
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datafeed.feed.schema import Array
from datafeed.formats import Span, detect, get, good_samples
from datafeed.sources import join, open_source
from tests.formats.shards import tar_bytes

_ROWS = np.arange(300 * 40, dtype=np.int32).reshape(300, 40)


def _parquet(path: Path) -> None:
    pq.write_table(pa.table({"x": list(_ROWS)}), path, row_group_size=50)


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=_ROWS, chunks=(10, 40), compression="gzip")


def _npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=_ROWS)


def _tar(path: Path) -> None:
    def npy(row: Array) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, row)
        return buffer.getvalue()

    path.write_bytes(tar_bytes((f"{i}.x.npy", npy(row)) for i, row in enumerate(_ROWS)))


def _tfrecord(path: Path) -> None:
    path.write_bytes((Path(__file__).parent / "data" / "plain.tfrecord").read_bytes())


def _jsonl(path: Path) -> None:
    path.write_text("".join(f'{{"x": {row.tolist()}}}\n' for row in _ROWS))


@pytest.mark.parametrize("write", [_parquet, _hdf5, _npz, _tar, _tfrecord, _jsonl])
def test_as_on_local_disks(hdfs_root: str, tmp_path: Path, write: Callable[[Path], None]) -> None:
    path, url = tmp_path / "shard", join(hdfs_root, "formats", write.__name__)
    write(path)
    local, remote = open_source(str(path)), open_source(url)
    remote.put(path, url)
    form = detect(remote, url)
    form = get(form.settled(remote, [url]))
    wanted = list(good_samples(form.samples(local, str(path)), 0))
    size = path.stat().st_size
    cuts = form.cuts(remote, url, size, size // 3)
    assert cuts
    borders = [0, *cuts, size]
    spans = [None, *map(Span, borders, borders[1:])]
    found = [list(good_samples(form.samples(remote, url, span), 0)) for span in spans]
    remote.close()
    np.testing.assert_equal(found[0], wanted)
    np.testing.assert_equal([sample for piece in found[1:] for sample in piece], wanted)
