"""The choice between summing beside the pass and after it; right for any number of ranks."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from trainers import GradientAverager
from trainers.gradients.overlap import OverlapMode
from trainers.world.world import SoloWorld, connect

pytestmark = pytest.mark.mpi

WORLD = connect(timeout_s=120)
RANK, SIZE = WORLD.rank, WORLD.size
N_MEASURED = 12
needs_two = pytest.mark.skipif(SIZE == 1, reason="one rank sums nothing")


class Clock:
    """Takes the place of the time: steps take what the test says."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("trainers.gradients.overlap.time", clock)
    return clock


def measure(action: OverlapMode, clock: Clock, thread_s: float, after_s: float) -> list[bool]:
    """Run the steps of the measurement; give the way of each."""
    ways = []
    for _ in range(N_MEASURED):
        assert not action.is_decided
        action.begin()
        ways.append(action.is_threaded)
        clock.now_s += thread_s if action.is_threaded else after_s
        action.end()
    assert action.is_decided
    return ways


@needs_two
@pytest.mark.parametrize(
    ("thread_s", "after_s", "is_threaded"),
    [(1.0, 2.0, True), (2.0, 1.0, False), (0.99, 1.0, False)],
)
def test_the_faster_way_is_kept(
    thread_s: float, after_s: float, is_threaded: bool, clock: Clock
) -> None:
    action = OverlapMode(WORLD, "auto", on_gpu=False)
    ways = measure(action, clock, thread_s, after_s)
    assert ways.count(True) == ways.count(False) == N_MEASURED // 2
    assert action.is_threaded == is_threaded
    action.begin()
    action.end()
    assert action.is_threaded == is_threaded


@needs_two
def test_all_ranks_decide_alike_whatever_each_measured(clock: Clock) -> None:
    """Rank 0 alone found the thread slower, but by more than the others found it faster."""
    action = OverlapMode(WORLD, "auto", on_gpu=False)
    thread_s = 1.0 + 3 * SIZE if RANK == 0 else 0.5
    measure(action, clock, thread_s, after_s=1.0)
    assert not action.is_threaded


class UnevenWorld(SoloWorld):
    """Stands for an MPI whose sums differ from rank to rank; here by more than their last bits."""

    rank, size = RANK, SIZE

    def sum(self, array: NDArray[np.float64]) -> None:
        array[:] = (1.0, 3.0) if RANK == 0 else (3.0, 1.0)

    def broadcast(self, array: NDArray[np.float64]) -> None:
        WORLD.broadcast(array)


@needs_two
def test_sums_that_are_not_bit_equal_decide_nothing_by_themselves(clock: Clock) -> None:
    action = OverlapMode(UnevenWorld(), "auto", on_gpu=False)
    measure(action, clock, thread_s=1.0, after_s=1.0)
    assert not action.is_threaded


def test_what_is_given_is_not_measured() -> None:
    for mode, is_threaded in (("thread", True), ("after", False)):
        action = OverlapMode(WORLD, mode, on_gpu=False)  # type: ignore[arg-type]
        assert action.is_decided
        action.begin()
        assert action.is_threaded == is_threaded
    assert OverlapMode(SoloWorld(), "auto", on_gpu=False).is_decided


@needs_two
def test_steps_without_begin_are_not_measured() -> None:
    action = OverlapMode(WORLD, "auto", on_gpu=False)
    for _ in range(2 * N_MEASURED):
        action.end()
        assert not action.is_threaded
    assert not action.is_decided


def test_gradients_are_exact_while_it_is_measured_and_after() -> None:
    model = nn.Linear(5, 3, bias=False)
    averager = GradientAverager(model, WORLD, bucket_bytes=8)
    n_local = RANK + 1
    total = SIZE * (SIZE + 1) // 2
    # The mean over all samples of rank + 1, which rank + 1 samples have.
    wanted = sum((rank + 1) ** 2 for rank in range(SIZE)) / total
    for _ in range(N_MEASURED + 3):
        averager.zero_grad()
        averager.begin(n_local)
        torch.autograd.backward(model.weight.sum() * (RANK + 1))
        assert averager.finish() == total
        assert model.weight.grad is not None
        for value in model.weight.grad.flatten().tolist():
            assert math.isclose(value, wanted, rel_tol=1e-6)
    assert averager.overlap in ("thread", "after")
    averager.close()
