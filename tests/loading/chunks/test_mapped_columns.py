"""Gathering from mapped chunks, whatever the size of rows and wherever values lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datafeed
from datafeed import DataLoader, Feed
from datafeed.feed.manifest import FEED_FILE, Manifest
from datafeed.feed.schema import Array, Field, Schema
from datafeed.feed.writer.part_writer import PartWriter

N, PER_CHUNK = 23, 4


def value(shape: tuple[int, ...], i: int) -> Array:
    n = int(np.prod(shape))
    return ((np.arange(n) * 7 + i * 13) % 251).astype(np.uint8).reshape(shape)


def write(folder: Path, schema: Schema, samples: list[list[Array]]) -> Feed:
    folder.mkdir(parents=True)
    with PartWriter(folder / "part-00000.h5", schema, PER_CHUNK, ["made"]) as part:
        for i, sample in enumerate(samples):
            part.append(sample, f"{i}", 0)
        entry = part.close()
    manifest = Manifest(feed_id="0" * 32, schema=schema, samples_per_chunk=PER_CHUNK, parts=[entry])
    (folder / FEED_FILE).write_bytes(manifest.to_bytes())
    return datafeed.open(folder)


@pytest.mark.parametrize(
    "shape",
    [
        (),
        (1,),
        (3,),
        (8,),
        (16,),
        (784,),
        (1000,),
        (1001,),
        (4096,),
        (12, 1024),
        (65536,),
        (99, 997),
    ],
)
@pytest.mark.parametrize("group", ["one", "many"])
def test_rows_of_any_size(tmp_path: Path, shape: tuple[int, ...], group: str) -> None:
    schema = (
        Field(name="id", dtype="int64"),
        Field(name="x", dtype="uint8", shape=shape),
        Field(name="half", dtype="float16", shape=(3, 5)),
    )
    samples = [[np.array(i), value(shape, i), np.full((3, 5), i / 2, np.float16)] for i in range(N)]
    batch_size = 3 if group == "many" else N
    seen = []
    with (
        write(tmp_path / "f", schema, samples) as feed,
        DataLoader(feed, batch_size=batch_size, streams=2) as loader,
    ):
        assert feed.mapped() is not None
        for _ in range(2):
            for batch in loader:
                for row, i in enumerate(batch["id"].tolist()):
                    assert np.array_equal(batch["x"][row].numpy(), value(shape, i))
                    assert (batch["half"][row] == i / 2).all()
                    seen.append(i)
    assert sorted(seen) == sorted([*range(N)] * 2)


def test_ragged_values_that_lie_apart(tmp_path: Path) -> None:
    """Values are stored in pieces of 256 KiB, so samples may begin in one and end in another."""
    schema = (
        Field(name="id", dtype="int64"),
        Field(name="blob", dtype="uint8", kind="bytes"),
        Field(name="tokens", dtype="int32", shape=(2,), kind="ragged"),
        Field(name="text", dtype="uint8", kind="str"),
    )

    def sample(i: int) -> list[Any]:
        tokens = value((2 * 40_000 * (i % 3),), i).astype(np.int32).reshape(-1, 2)
        text = ("ö" * 150_000 * (i % 2)).encode()
        return [np.array(i), value((190_000 * (i % 4),), i), tokens, np.frombuffer(text, np.uint8)]

    seen = []
    with (
        write(tmp_path / "f", schema, [sample(i) for i in range(N)]) as feed,
        DataLoader(feed, batch_size=5, streams=2) as loader,
    ):
        runs = [len(feed.index(0).extents(number)) for number in range(feed.manifest.n_chunks)]
        assert max(runs) > 6
        for batch in loader:
            for row, i in enumerate(batch["id"].tolist()):
                _, blob, tokens, text = sample(i)
                assert batch["blob"][row] == blob.tobytes()
                assert np.array_equal(batch["tokens"][row].numpy(), tokens)
                assert batch["text"][row] == text.tobytes().decode()
                seen.append(i)
    assert sorted(seen) == list(range(N))


def test_chunks_are_brought_every_epoch_and_checked_once(tmp_path: Path) -> None:
    samples = [[value((100,), i)] for i in range(N)]
    with write(tmp_path / "f", (Field(name="x", dtype="uint8", shape=(100,)),), samples) as feed:
        n_chunks = feed.manifest.n_chunks
        for n_epochs in (1, 2):
            with DataLoader(feed, batch_size=4, streams=2) as loader:
                for _ in range(n_epochs):
                    list(loader)
                stats = loader.stats()
                parts = feed.mapped()
                assert parts is not None
                assert all(parts.is_checked(chunk) for chunk in range(n_chunks))
            assert stats["fetched"] == (n_chunks if n_epochs == 1 else 0)
            assert stats["tiers"]["parts"]["hits"] >= n_epochs * n_chunks  # threads run ahead
            assert (stats["slots"], stats["resident"]) == (0, 0)
