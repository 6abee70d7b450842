"""Windows over real ranks: right for any number of them."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

import datafeed
from datafeed import DataLoader, Feed
from datafeed.cache.subset import even_order
from datafeed.cache.window.cluster_tier import ClusterTier
from datafeed.cache.window.cluster_window import ClusterWindow
from datafeed.cache.window.node_window import NodeWindow
from datafeed.cache.window.windows import tier_of
from datafeed.errors import ConfigError, DamagedError, FeedError, StallError
from datafeed.mpi import wait_all
from tests.cache.made_feeds import (
    fetch_all,
    payload_of,
    request_of,
    requests_of,
    truth,
    write_feed,
)
from tests.cache.tier_suite import CASES, CHECKS

pytestmark = pytest.mark.mpi

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.Get_rank(), COMM.Get_size()
KINDS = [NodeWindow, ClusterWindow]
ROOM = 64 << 20


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Collective. A folder with a feed of each case, written by rank 0."""
    path = Path(COMM.bcast(tempfile.mkdtemp() if RANK == 0 else None))
    if RANK == 0:
        for name, case in CASES.items():
            write_feed(path / name, *case)
    COMM.Barrier()
    yield path
    COMM.Barrier()
    if RANK == 0:
        shutil.rmtree(path)


@pytest.fixture
def feed(folder: Path) -> Iterator[Feed]:
    with datafeed.open(folder / "labelled") as opened:
        yield opened


def window_of(kind: Any, feed: Feed, n_bytes: int = ROOM, **options: Any) -> Any:
    return kind(feed, COMM, n_bytes, progress=False, **options)


@pytest.mark.parametrize(
    ("kind", "is_near"), [*((kind, True) for kind in KINDS), (KINDS[1], False)]
)
@pytest.mark.parametrize("name", CASES)
def test_the_shared_checks(
    kind: Any, is_near: bool, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with datafeed.open(folder / name) as feed:
        window = window_of(kind, feed)
        assert window.held.all()
        if kind is ClusterWindow:
            assert all(window.is_near(rank) for rank in range(SIZE))
            monkeypatch.setattr(window, "is_near", lambda rank: is_near)
        for check in CHECKS:
            check(tier_of(window), feed)
        COMM.Barrier()
        window.close()
        window.close()


def test_each_chunk_lies_once_on_a_node_and_is_mapped_read_only(feed: Feed) -> None:
    window = window_of(NodeWindow, feed)
    assert window.layout.rank_bytes.sum() < 2 * sum(r.n_bytes for r in requests_of(feed))
    wanted = truth(feed)
    for chunk in range(feed.manifest.n_chunks):
        payload, again = window.payload(chunk), window.payload(chunk)
        assert payload.nbytes == sum(feed.piece_lengths(chunk))
        assert payload.tobytes() == wanted[chunk]
        assert not payload.flags.writeable
        assert again.ctypes.data == payload.ctypes.data
    window.close()
    assert window.payload(0) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_window_holds_an_even_choice_and_misses_the_rest(kind: Any, feed: Feed) -> None:
    sizes = [sum(feed.piece_lengths(c)) for c in range(feed.manifest.n_chunks)]
    room = sum(sizes) // 2
    window = window_of(kind, feed, room)
    held = set(np.flatnonzero(window.held).tolist())
    assert 0 < sum(sizes[c] for c in held) <= room
    front = even_order(feed.manifest.feed_id, len(sizes))[: len(held)].tolist()
    assert len(held & set(front)) >= len(held) - SIZE
    tier = tier_of(window)
    assert fetch_all(tier, feed) == {c: p for c, p in truth(feed).items() if c in held}
    assert tier.counters.misses == len(sizes) - len(held)
    COMM.Barrier()
    window.close()


def test_the_stack_falls_through_both_windows_to_the_parts(folder: Path) -> None:
    with datafeed.open(folder / "labelled") as feed:
        n_bytes = sum(request.n_bytes for request in requests_of(feed))
        n_node = feed.load_window(COMM, n_bytes // 3, progress=False)
        n_spread = feed.load_window(COMM, n_bytes // 3, across_nodes=True, progress=False)
        stack = feed.open_stack()
        requests = requests_of(feed)
        stack.fetch(requests, 30)
        assert {r.chunk: payload_of(r) for r in requests} == truth(feed)
        tiers = stack.stats()
        assert list(tiers) == ["window", "rma", "parts"]
        assert (tiers["window"]["hits"], tiers["rma"]["hits"]) == (n_node, n_spread)
        assert tiers["parts"]["hits"] == len(requests) - n_node - n_spread > 0
        stack.close()
        COMM.Barrier()


@pytest.mark.parametrize("across_nodes", [False, True])
def test_a_loader_reads_the_window(across_nodes: bool, feed: Feed) -> None:
    feed.load_window(COMM, ROOM, across_nodes=across_nodes, progress=False)
    seen = []
    with DataLoader(feed.as_tuple("label"), comm=COMM, batch_size=4, streams=12) as loader:
        for (label,) in loader:
            seen += label.tolist()
        tiers = loader.stats()["tiers"]
    everyone = sorted(label for share in COMM.allgather(seen) for label in share)
    assert everyone == sorted(int(sample["label"]) for sample in feed)
    if across_nodes:
        assert tiers["rma"]["hits"] > tiers["parts"]["hits"] == 0
    else:  # gathered where it lies
        assert list(tiers) == ["window"]
        assert tiers["window"]["hits"] > 0


@pytest.mark.parametrize("name", CASES)
def test_batches_gathered_from_a_window_are_right(name: str, folder: Path) -> None:
    with datafeed.open(folder / name) as feed, datafeed.open(folder / name) as plain:
        feed.load_window(COMM, ROOM, progress=False)
        assert feed.mapped() is not None
        with DataLoader(feed, comm=COMM, batch_size=2, streams=SIZE, with_index=True) as loader:
            for batch in loader:
                for i, position in enumerate(batch["index"].tolist()):
                    for field, value in plain[position].items():
                        got = batch[field][i]  # compared as bytes: floats may be NaN
                        same = got if field == "text" else got.numpy().tobytes()
                        assert same == (value if field == "text" else value.tobytes())
        COMM.Barrier()


def test_a_flipped_bit_is_found_at_the_first_touch(feed: Feed) -> None:
    for kind in KINDS:
        window = window_of(kind, feed)
        if RANK == 0:  # in its own memory: chunks that it holds
            window._memory.mine[100] ^= 8
        COMM.Barrier()
        chunk = int(np.flatnonzero((window.layout.ranks == 0) & (window.layout.offsets == 0))[0])
        tier = tier_of(window)
        [(request, error)] = tier.fetch([request_of(feed, chunk)], 10)
        assert request.chunk == chunk
        assert "window" in str(error)
        assert tier.counters.corrupt == 1
        if kind is NodeWindow:
            with pytest.raises(DamagedError, match=f"chunk {chunk} in the shared window"):
                window.payload(chunk)
        COMM.Barrier()
        window.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_chunk_that_cannot_be_loaded_is_an_error_on_all_ranks(
    kind: Any, feed: Feed, folder: Path, tmp_path: Path
) -> None:
    damaged = Path(COMM.bcast(str(tmp_path) if RANK == 0 else None)) / "damaged"
    if RANK == 0:
        shutil.copytree(folder / "labelled", damaged)
        extent = feed.index(0).extents(0)[0]
        with (damaged / "part-00000.h5").open("r+b") as file:
            file.seek(extent.offset)
            file.write(b"\xff" * 8)
    COMM.Barrier()
    with datafeed.open(damaged) as broken, pytest.raises(FeedError) as raised:
        window_of(kind, broken)
    errors = COMM.allgather(str(raised.value))
    assert sum("part-00000.h5: chunk 0" in error for error in errors) == 1
    assert sum("failed to load" in error for error in errors) == SIZE - 1


class Never:
    """A request that MPI never finishes."""

    def Test(self) -> bool:  # noqa: N802
        return False


def test_memory_that_does_not_answer_costs_a_deadline(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = window_of(ClusterWindow, feed)
    tier = ClusterTier(window, rank_s=0.05)
    with monkeypatch.context() as patch:
        patch.setattr(window, "begin", lambda chunk, views: [Never()])
        with pytest.raises(StallError, match="of this node does not let"):
            tier.fetch(requests_of(feed), 10)
        patch.setattr(window, "is_near", lambda rank: False)
        missing = tier.fetch(requests_of(feed), 10)
        assert len(missing) == feed.manifest.n_chunks
        assert "did not come from the memory of rank" in str(missing[0][1])
    counts = tier.counters
    assert (counts.hits, counts.corrupt, counts.misses) == (0, 0, 0)
    assert counts.timeouts > 0
    assert counts.timeouts + counts.down == feed.manifest.n_chunks
    COMM.Barrier()
    window.close()


def test_what_cannot_be_is_refused_on_all_ranks(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("datafeed.cache.window.node_window.free_shm_bytes", lambda: 1000)
        with pytest.raises(ConfigError, match="of shared memory"):
            window_of(NodeWindow, feed)
    for kind in KINDS:
        with pytest.raises(ConfigError, match="memory_bytes=0"):
            window_of(kind, feed, 0)
    with monkeypatch.context() as patch:
        patch.setattr(MPI, "Query_thread", lambda: MPI.THREAD_SERIALIZED)
        with pytest.raises(ConfigError, match="MPI_THREAD_MULTIPLE"):
            window_of(ClusterWindow, feed)


def test_ranks_that_do_not_come_end_the_wait(caplog: pytest.LogCaptureFixture) -> None:
    if SIZE == 1:
        pytest.skip("one rank waits for nobody")
    alone = COMM.Dup()  # of no use for collectives afterwards
    if RANK == 0:
        with pytest.raises(StallError, match=f"rank 0 of {SIZE} waited 0.05 s for the others to x"):
            wait_all(alone, 0.05, "x")
    COMM.Barrier()


def test_closing_without_the_others_leaves_the_memory(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if SIZE == 1:
        pytest.skip("one rank waits for nobody")
    window = window_of(NodeWindow, feed)
    monkeypatch.setattr("datafeed.cache.window.memory._CLOSE_S", 0.05)
    if RANK == 0:
        with caplog.at_level(logging.WARNING):
            window.close()
        assert "is freed when the processes end" in caplog.text
    COMM.Barrier()
