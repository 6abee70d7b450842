"""One suite for the world with MPI and the one without; right for any number of ranks."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from datafeed.errors import CollectiveMismatch, TrainerError
from trainers.run.random_state import gather_states
from trainers.world.agreement import require_same
from trainers.world.world import (
    MpiWorld,
    SoloWorld,
    World,
    as_world,
    connect,
    gather_numbers,
    local_rank,
    n_cores,
    n_hosts,
)

pytestmark = pytest.mark.mpi

WORLD = connect(timeout_s=120)


@pytest.fixture(params=["mpi", "solo"])
def world(request: pytest.FixtureRequest) -> World:
    return WORLD if request.param == "mpi" else SoloWorld()


def test_mpi_is_what_was_tested() -> None:
    assert isinstance(WORLD, MpiWorld)
    assert WORLD.comm.Get_size() == WORLD.size


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_sum_in_place(world: World, dtype: str) -> None:
    array = np.arange(1000, dtype=dtype) * (world.rank + 1)
    world.sum(array[10:900])
    total = world.size * (world.size + 1) // 2
    np.testing.assert_array_equal(array[10:900], np.arange(10, 900) * total)
    np.testing.assert_array_equal(array[:10], np.arange(10) * (world.rank + 1))


@pytest.mark.parametrize("shape", [(), (0,), (3, 5)])
def test_broadcast_of_rank_0(world: World, shape: tuple[int, ...]) -> None:
    array = np.full(shape, world.rank + 7, np.int16)
    world.broadcast(array)
    np.testing.assert_array_equal(array, np.full(shape, 7))


def test_broadcast_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.world.mpi_world._BROADCAST_BYTES", 10)
    array = np.arange(33, dtype=np.int32) + world.rank
    world.broadcast(array)
    np.testing.assert_array_equal(array, np.arange(33))


def test_gather_of_different_lengths(world: World) -> None:
    wanted = [bytes([rank]) * rank * 3 for rank in range(world.size)]
    assert world.gather(wanted[world.rank]) == wanted


def test_gather_numbers(world: World) -> None:
    rows = gather_numbers(world, [world.rank, 0.5])
    np.testing.assert_array_equal(rows, [[rank, 0.5] for rank in range(world.size)])


def test_cores_are_shared_and_ranks_counted_on_each_host(world: World) -> None:
    n = n_cores(world)
    assert 1 <= n <= len(os.sched_getaffinity(0))
    assert n * world.size <= max(world.size, os.cpu_count() or 1)
    assert local_rank(world) == world.rank  # the tests run on one host
    assert n_hosts(world) == 1


def test_a_duplicate_is_closed_twice(world: World) -> None:
    double = world.duplicate()
    assert (double.rank, double.size) == (world.rank, world.size)
    assert double.gather(b"x") == [b"x"] * world.size
    double.close()
    double.close()


def test_as_world() -> None:
    assert as_world(None).size == 1
    assert as_world(WORLD) is WORLD
    made = as_world(WORLD.comm)
    assert made.size == WORLD.size
    made.close()


def test_agreement(world: World) -> None:
    require_same(world, "options", ["a 1", "b 2"], "start again")


def test_disagreement_is_named_on_all_ranks() -> None:
    if WORLD.size == 1:
        pytest.skip("one rank cannot disagree")
    last = WORLD.size - 1
    lines = ["a 1", "b 2"] if WORLD.rank < last else ["a 1", "b 3", "c"]
    wanted = f"options: rank 0 has b 2, but rank {last} has b 3; start again"
    with pytest.raises(CollectiveMismatch, match=re.escape(wanted)):
        require_same(WORLD, "options", lines, "start again")
    lines = lines[:2] if WORLD.rank < last else ["a 1"]
    with pytest.raises(CollectiveMismatch, match=f"has b 2, but rank {last} has nothing more"):
        require_same(WORLD, "options", lines, "start again")


def test_random_states_of_all_ranks(world: World) -> None:
    states = gather_states(world)["cpu"]
    assert len(states) == world.size
    assert {len(state) for state in states} == {len(states[0])}


def test_a_launcher_of_another_mpi_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    if WORLD.size > 1:
        pytest.skip("needs a world of one rank")
    monkeypatch.setenv("PMI_SIZE", "3")
    with pytest.raises(TrainerError, match="3 ranks were started, but mpi4py sees one"):
        connect()


WITHOUT_MPI4PY = """
import sys
sys.modules["mpi4py"] = None
from trainers.world.world import connect
print(connect().size)
"""


@pytest.mark.parametrize(("n_launched", "output"), [("1", "1\n"), ("2", "")])
def test_without_mpi4py_one_rank_trains_alone(n_launched: str, output: str) -> None:
    environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": n_launched, "PMI_SIZE": n_launched}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MPI4PY], env=environment, capture_output=True, text=True
    )
    assert done.stdout == output
    assert ("2 ranks were started, but mpi4py cannot be loaded" in done.stderr) == (output == "")
