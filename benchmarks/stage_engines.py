"""The same mixed shards staged by all engines: are the parts equal, and how long did each take?

    python -m benchmarks.stage_engines [--gib 2] [--dir DIR]

Makes shards of random images in tar (PNG), Parquet, TFRecord, NPZ and HDF5, about equal shares of
so many GiB, puts them into the loopback cluster's HDFS, and stages each format from and to HDFS by
every engine. Prints a JSON line for each feed, and one in the end; status 1 where parts differ.
"""

import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import numpy as np

from datafeed.cluster import LoopbackCluster
from datafeed.sources import Source, basename, join, open_source

BIN = Path(sys.executable).parent
MPIRUN = [str(BIN / "mpirun"), "--allow-run-as-root", "--oversubscribe", "-n", "2"]
SIDE = 148
"""Of a random image: 64 KiB."""
SHARD_BYTES = 64 << 20

ENGINES: dict[str, tuple[list[str], list[str]]] = {
    "local": ([], []),
    "mpi": (MPIRUN, []),
    "hadoop": ([], ["--workers", "2"]),
    "spark": ([], ["--spark-master", "local-cluster[2,1,1024]"]),
}
"""What stands before and behind the command."""


def images(shard: int, n: int) -> Iterator[tuple[str, Any, int]]:
    """Key, image and label of each sample of a shard."""
    noise = np.random.default_rng(shard)
    for i in range(n):
        image = noise.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        yield f"{shard:04d}-{i:05d}", image, (shard * 31 + i) % 1000


def write_tar(path: Path, shard: int, n: int) -> None:
    """PNGs of hardly any compression, and labels."""
    from PIL import Image

    with tarfile.open(path, "w") as tar:
        for key, image, label in images(shard, n):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "png", compress_level=0)
            for name, data in ((f"{key}.png", png.getvalue()), (f"{key}.cls", b"%d" % label)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def write_parquet(path: Path, shard: int, n: int) -> None:
    """Images as bytes, 64 to a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys, pixels, labels = zip(*images(shard, n), strict=True)
    columns = {"key": list(keys), "pixels": [p.tobytes() for p in pixels], "label": list(labels)}
    pq.write_table(pa.table(columns), path, row_group_size=64, compression="none")


def write_npz(path: Path, shard: int, n: int) -> None:
    """One array of all images, one of all labels."""
    _, pixels, labels = zip(*images(shard, n), strict=True)
    np.savez(path, image=np.stack(pixels), label=np.array(labels))


def write_hdf5(path: Path, shard: int, n: int) -> None:
    """The same, in HDF5."""
    import h5py

    _, pixels, labels = zip(*images(shard, n), strict=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = np.stack(pixels), np.array(labels)


def write_tfrecord(path: Path, shard: int, n: int) -> None:
    """Records of raw bytes, framed as TensorFlow frames them."""
    from crc32c import crc32c

    def masked(data: bytes) -> bytes:
        crc = crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    with path.open("wb") as file:
        for _, image, label in images(shard, n):
            record = example(image.tobytes(), label)
            length = struct.pack("<Q", len(record))
            file.write(length + masked(length) + record + masked(record))


def example(pixels: bytes, label: int) -> bytes:
    """A ``tf.train.Example`` of two features, by protocol buffers' own rules."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(data)) + data

    def feature(name: bytes, value: bytes) -> bytes:
        return field(1, field(1, name) + field(2, value))

    features = feature(b"pixels", field(1, field(1, pixels)))
    features += feature(b"label", field(3, field(1, varint(label))))
    return field(1, features)


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    data = bytearray()
    while number >= 128:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])


WRITERS: dict[str, tuple[str, Callable[[Path, int, int], None]]] = {
    "tar": ("tar", write_tar),
    "parquet": ("parquet", write_parquet),
    "tfrecord": ("tfrecord", write_tfrecord),
    "npz": ("npz", write_npz),
    "hdf5": ("h5", write_hdf5),
}


def put_shards(kind: str, n_shards: int, url: str, source: Source, scratch: Path) -> int:
    """Write the shards of one format into HDFS; returns their bytes."""
    extension, write = WRITERS[kind]
    n_bytes = 0
    for shard in range(n_shards):
        path = scratch / f"{kind}-{shard:04d}.{extension}"
        write(path, shard, SHARD_BYTES // (SIDE * SIDE * 3))
        source.put(path, join(url, path.name))
        n_bytes += path.stat().st_size
        path.unlink()
    return n_bytes


def stage(engine: str, raw: str, feed: str) -> dict[str, Any]:
    """Run the command."""
    before, behind = ENGINES[engine]
    words = [*before, str(BIN / "datafeed"), "stage", raw, "--to", feed, "--engine", engine]
    start_s = time.monotonic()
    done = subprocess.run([*words, *behind, "--json"], capture_output=True, text=True, timeout=3600)
    if done.returncode:
        raise click.ClickException(f"{engine}: {done.stderr[-2000:]}")
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**facts, "seconds": round(time.monotonic() - start_s, 1)}


def digest(source: Source, feed: str) -> str:
    """SHA-256 over the names and bytes of all parts."""
    whole = hashlib.sha256()
    for info in source.list(feed):
        if basename(info.url).startswith("part-"):
            whole.update(basename(info.url).encode())
            with source.open(info.url) as part:
                while data := part.read(4 << 20):
                    whole.update(data)
    return whole.hexdigest()


def compare(kind: str, raw: str, root: str, source: Source, n_bytes: int) -> bool:
    """Stage by every engine; tells whether all parts are equal."""
    digests = set()
    for engine in ENGINES:
        feed = join(root, f"feed-{kind}-{engine}")
        facts = stage(engine, raw, feed)
        found = digest(source, feed)
        digests.add(found)
        row = {name: facts[name] for name in ("samples", "parts", "bytes", "seconds")}
        row["sha256"] = found
        print(json.dumps({"format": kind, "engine": engine, "raw_bytes": n_bytes, **row}))
        sys.stdout.flush()
        source.delete(feed)
    return len(digests) == 1


@click.command()
@click.option("--gib", default=2.0, show_default=True, help="Of shards, in all.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="For the cluster.")
def main(gib: float, folder: Path | None) -> None:
    """Stage the same shards by all engines and compare the parts."""
    n_shards = max(1, round(gib * (1 << 30) / SHARD_BYTES / len(WRITERS)))
    with (
        tempfile.TemporaryDirectory(dir=folder) as scratch,
        LoopbackCluster(Path(scratch) / "cluster") as cluster,
    ):
        os.environ.update(cluster.env())
        root, same = join(cluster.namenode, "engines"), {}
        with closing(open_source(root, timeout_s=60)) as source:
            for kind in WRITERS:
                raw = join(root, kind)
                n_bytes = put_shards(kind, n_shards, raw, source, Path(scratch))
                same[kind] = compare(kind, raw, root, source, n_bytes)
                source.delete(raw)
    print(json.dumps({"equal": same, "engines": list(ENGINES)}))
    sys.exit(0 if all(same.values()) else 1)


if __name__ == "__main__":
    main()
