"""Hashes of feeds, blocks, orders and batches of fixed inputs, which golden.json keeps.

``python -m tests.golden.made`` prints them: run it on the commit whose bytes shall stay, and write
what it prints to golden.json.
"""

import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from crc32c import crc32c
from pymemcache.client.base import Client

import datafeed
from datafeed.cache.memcached.placement import Placement
from datafeed.cluster.memcached import MemcachedServer
from datafeed.feed.block import Blocks
from datafeed.feed.manifest import FEED_FILE, Manifest
from datafeed.feed.schema import Field, Schema, conform
from datafeed.feed.writer.part_writer import PartWriter
from datafeed.staging.stage import stage

GOLDEN = Path(__file__).with_name("golden.json")
SCHEMA: Schema = (
    Field(name="image", dtype="uint8", shape=(128, 96)),
    Field(name="label", dtype="int64"),
    Field(name="text", dtype="uint8", kind="str"),
    Field(name="points", dtype="float32", shape=(3,), kind="ragged"),
)
SERVERS = ["cache1:11211", "cache2:11211", "unix:/run/memcached.sock"]


def digest(data: Any) -> str:
    """The first half of a SHA-256, enough to tell any two apart."""
    return sha256(data).hexdigest()[:32]


def sample_of(i: int) -> dict[str, Any]:
    """All fields of sample i, in closed form."""
    return {
        "image": ((np.arange(128 * 96) * 7 + i * 13) % 251).astype(np.uint8).reshape(128, 96),
        "label": np.int64(i * 1_000_003),
        "text": f"Größe {i} " * (i % 4),
        "points": np.full((i % 6, 3), i / 7, np.float32),
    }


def write_feed(folder: Path, part_samples: list[int], samples_per_chunk: int) -> None:
    """Write a feed whose bytes name no path of this machine."""
    folder.mkdir(parents=True)
    entries, first = [], 0
    for number, n in enumerate(part_samples):
        path = folder / f"part-{number:05d}.h5"
        with PartWriter(path, SCHEMA, samples_per_chunk, [f"hdfs://nn/s{number}.tar"]) as part:
            for i in range(first, first + n):
                part.append(conform(SCHEMA, sample_of(i), "golden"), f"key{i}", 0)
            entry = part.close()
        first += n
        data = path.read_bytes()
        entries.append(replace(entry, bytes=len(data), crc32c=f"{crc32c(data):08x}"))
    manifest = Manifest(
        feed_id="0123456789abcdef" * 2,
        schema=SCHEMA,
        samples_per_chunk=samples_per_chunk,
        parts=entries,
    )
    (folder / FEED_FILE).write_bytes(manifest.to_bytes())


def written(folder: Path) -> dict[str, str]:
    """Whole files of a feed written without staging."""
    write_feed(folder, [130, 0, 77, 1], 50)
    return {path.name: digest(path.read_bytes()) for path in sorted(folder.iterdir())}


def blocks(folder: Path) -> dict[str, Any]:
    """Keys and values in memcached of that feed, and where blocks are placed."""
    with MemcachedServer.start(folder.with_suffix(".log"), 64) as server:
        address = server.address
        datafeed_warm(str(folder), address)
        with datafeed.open(folder) as feed:
            found = dict(values(feed.manifest, address))
    chunks = np.arange(10_000)
    places = Placement(SERVERS, "ab" * 16, 3).servers(chunks, chunks % 3)
    return {"values": found, "placement": digest(places.astype("<i8").tobytes())}


def datafeed_warm(folder: str, address: str) -> None:
    """Fill a server by the command."""
    command = Path(sys.executable).with_name("datafeed")
    subprocess.run([command, "warm", folder, "--cache", address], check=True, capture_output=True)


def values(manifest: Manifest, address: str) -> Iterator[tuple[str, str]]:
    """Every key of a feed with the hash of its value."""
    host, _, port = address.rpartition(":")
    client = Client((host, int(port)))
    names = Blocks(manifest.feed_id)
    for chunk in range(manifest.n_chunks):
        for block in range(100):
            value = client.get(names.key(chunk, block))
            if value is None:
                break
            yield names.key(chunk, block).decode(), digest(value)
    client.close()


def shards(folder: Path) -> dict[str, list[Path]]:
    """Raw shards of several formats, the same bytes wherever they are written."""
    folder.mkdir()
    tars = [folder / f"s{s}.tar" for s in range(3)]
    for s, path in enumerate(tars):
        with tarfile.open(path, "w") as tar:
            for i in range(s * 40, s * 40 + 40):
                array, label = BytesIO(), str(i).encode()
                np.save(array, np.full((8, 8), i, np.int16))
                members = {f"{i:05d}.x.npy": array.getvalue(), f"{i:05d}.cls": label}
                for name, data in members.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, BytesIO(data))
    rows = [{"id": i, "name": f"n{i}" * (i % 3), "tokens": list(range(i % 5))} for i in range(90)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = "".join(f"{i},{i / 8},w{i}\n" for i in range(70))
    (folder / "table.csv").write_text("a,b,c\n" + lines)
    with h5py.File(folder / "arrays.h5", "w") as file:
        file["x"] = np.arange(300, dtype=np.float32).reshape(60, 5)
        file["y"] = np.arange(60)
    np.savez(folder / "arrays.npz", x=np.arange(90.0).reshape(30, 3), y=np.arange(30))
    single = {name: [folder / name] for name in ("rows.jsonl", "table.csv", "arrays.h5")}
    return {"tar": tars, "npz": [folder / "arrays.npz"], **single}


def staged(folder: Path) -> dict[str, Any]:
    """What staging stores of each format: all but the shards' own URLs."""
    found = {}
    for name, paths in shards(folder / "shards").items():
        feed = folder / f"feed-{name}"
        stage([str(path) for path in paths], str(feed), progress=False, part_bytes=40_000)
        found[name] = {part.name: stored(part) for part in sorted(feed.glob("part-*.h5"))}
    return found


def stored(part: Path) -> dict[str, str]:
    """Data sets of a part: their form, and the hash of their bytes."""
    found: dict[str, str] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and "shard" not in name and "url" not in name:
            form = f"{item.dtype} {item.shape} {item.chunks}"
            found[name] = f"{form} {digest(np.ascontiguousarray(item[()]).tobytes())}"

    with h5py.File(part) as file:
        file.visititems(visit)
    return found


def orders() -> dict[str, str]:
    """Global batches and shares of ranks, over kinds of feeds and shuffles."""
    found = {}
    feeds: list[tuple[Any, int]] = [(100_003, 64), ([900, 17, 0, 4_000, 333], 25), (37, 5)]
    ways: Any = product(feeds, (True, "global", False), (0, 2**63 + 7), (False, True))
    for (parts, per_chunk), shuffle, seed, drop in ways:
        order = datafeed.Order(parts, per_chunk, 33, seed, drop_last=drop, shuffle=shuffle)
        total = sha256()
        for epoch in (0, 5):
            for step in (0, order.steps // 2, order.steps - 1):
                total.update(order.batch(epoch, step).astype("<i8").tobytes())
                for world in (1, 2, 3) if order.streams >= 3 else (1,):
                    share = order.rank_batch(epoch, step, world - 1, world)
                    total.update(share.astype("<i8").tobytes())
        found[f"{parts} {per_chunk} {shuffle} {seed} {drop}"] = total.hexdigest()[:32]
    return found


def batches(folder: Path) -> dict[str, str]:
    """What loaders hand out of a feed, a selection and a blend."""
    with datafeed.open(folder) as feed:
        half = feed.select(range(0, 200, 2))
        blend = datafeed.blend({half: 0.7, feed: 0.3})
        found = {}
        for name, data in {"feed": feed, "selection": half, "blend": blend}.items():
            for shuffle in (True, "global", False):
                with datafeed.DataLoader(data, batch_size=16, shuffle=shuffle, seed=3) as loader:
                    found[f"{name} {shuffle}"] = hash_of(loader)
        return found


def hash_of(loader: Any) -> str:
    """The hash of all batches of an epoch."""
    total = sha256()
    for batch in loader:
        for name, column in batch.items():
            total.update(name.encode())
            rows = [column] if isinstance(column, torch.Tensor) else column
            for row in rows:
                total.update(row.encode() if isinstance(row, str) else row.numpy().tobytes())
    return total.hexdigest()[:32]


def everything(folder: Path) -> dict[str, Any]:
    """All hashes, made in an empty folder."""
    feed = folder / "feed"
    return {
        "written": written(feed),
        "blocks": blocks(feed),
        "staged": staged(folder),
        "orders": orders(),
        "batches": batches(feed),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(everything(Path(name)), indent=1, sort_keys=True))
