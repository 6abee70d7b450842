"""The order over real ranks: right for any number of them, told by a communicator alone."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

import datafeed
from datafeed import DataLoader, Feed, Order, testing
from datafeed.feed.schema import Field

pytestmark = pytest.mark.mpi

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.Get_rank(), COMM.Get_size()
PARTS, PER_CHUNK, BATCH = [140, 61, 9], 5, 24
SCHEMA = (Field(name="id", dtype="int64"), Field(name="row", dtype="float32", shape=(3,)))


def write_feed(folder: Path) -> None:
    """Sample i is the number i, and a row of its thirds."""
    testing.write_feed(
        folder,
        PARTS,
        PER_CHUNK,
        schema=SCHEMA,
        sample=lambda i: {"id": np.int64(i), "row": np.full(3, i / 3, np.float32)},
        feed_id=32 * "7",
        shard="shard",
        key="{}",
    )


@pytest.fixture(scope="module")
def feed() -> Iterator[Feed]:
    """Collective. One feed that rank 0 writes and all ranks open."""
    folder = Path(COMM.bcast(tempfile.mkdtemp() if RANK == 0 else None))
    if RANK == 0:
        write_feed(folder)
    COMM.Barrier()
    with datafeed.open(str(folder)) as opened:
        yield opened
    COMM.Barrier()
    if RANK == 0:
        shutil.rmtree(folder)


def order_of() -> Order:
    return Order(PARTS, PER_CHUNK, BATCH, seed=11, streams=12)


def loader_of(feed: Feed) -> DataLoader:
    return DataLoader(feed, comm=COMM, global_batch_size=BATCH, seed=11, streams=12)


def shares_of(loader: DataLoader) -> list[list[int]]:
    """The samples of this rank's batches, checked."""
    shares = []
    for batch in loader:
        ids = batch["id"].numpy()
        rows = np.repeat((ids / 3).astype(np.float32)[:, None], 3, axis=1)
        assert np.array_equal(batch["row"].numpy(), rows)
        shares.append(ids.tolist())
    return shares


def gathered(shares: list[list[int]]) -> list[list[int]]:
    """Collective. The samples that all ranks together hold of each batch.

    Once an epoch: ranks that wait in MPI take the cores from threads that fetch.
    """
    steps = zip(*COMM.allgather(shares), strict=True)  # as many on all ranks
    return [sorted(i for share in step for i in share) for step in steps]


def test_all_ranks_together_get_the_global_batches(feed: Feed) -> None:
    order = order_of()
    with loader_of(feed) as loader:
        shares = shares_of(loader)
    assert shares == [order.rank_batch(0, s, RANK, SIZE).tolist() for s in range(order.steps)]
    batches = gathered(shares)
    assert batches == [sorted(order.batch(0, step).tolist()) for step in range(order.steps)]
    assert sorted(i for batch in batches for i in batch) == list(range(sum(PARTS)))


def test_all_ranks_resume_from_one_state(feed: Feed) -> None:
    order = order_of()
    with loader_of(feed) as loader:
        loader.load_state_dict({**loader.state_dict(), "epoch": 4, "step": 5})
        batches = gathered(shares_of(loader))
    assert batches == [sorted(order.batch(4, step).tolist()) for step in range(5, order.steps)]
