"""Right for any number of ranks: every expected value is a formula of rank and size."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datafeed.errors import CollectiveMismatch, ConfigError, TrainerError
from trainers import GradientAverager
from trainers.world import roll_call
from trainers.world.world import connect

pytestmark = pytest.mark.mpi

WORLD = connect(timeout_s=120)
RANK, SIZE = WORLD.rank, WORLD.size
torch.set_num_threads(1)  # the ranks share the cores

# Small buckets and pieces, so that several of each are needed.
SMALL: dict[str, Any] = {"first_bucket_bytes": 64, "bucket_bytes": 1000, "piece_bytes": 132}


@pytest.fixture(params=["after", "thread"])
def overlap(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 16), nn.Linear(16, 3)
    )


def grad_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def backward(model: nn.Module, value: float) -> None:
    """Return every parameter a gradient of numbers that tell its place, times a value."""
    parts = [
        (p * torch.arange(p.numel()).reshape(p.shape) * value).sum() for p in model.parameters()
    ]
    torch.autograd.backward(torch.stack(parts).sum())


def check(model: nn.Module, value: float, rtol: float = 1e-6) -> None:
    for p in model.parameters():
        wanted = torch.arange(p.numel()).reshape(p.shape) * value
        torch.testing.assert_close(grad_of(p), wanted.to(p.dtype), rtol=rtol, atol=0)


HOSTS = {
    "one host": "a",
    "two hosts of equal size, if ranks are even": f"{RANK % 2}",
    "hosts of unequal size": "a" if RANK else "b",
    "MPI alone": None,
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("sizes", [{}, SMALL])
def test_equal_shares_give_the_mean_over_ranks(
    sizes: dict[str, Any], host: str | None, overlap: Any
) -> None:
    model = network()
    averager = GradientAverager(model, WORLD, overlap=overlap, host=host, **sizes)
    for step in range(3):
        averager.zero_grad()
        backward(model, RANK + step)
        assert averager.finish() == SIZE
        check(model, (SIZE - 1) / 2 + step)
    averager.close()


def test_gradients_are_weighted_by_the_samples_of_all_ranks(overlap: Any) -> None:
    model = network()
    averager = GradientAverager(model, WORLD, overlap=overlap, **SMALL)
    n = SIZE * (SIZE + 1) // 2
    for step in range(2):
        averager.zero_grad()
        if overlap == "thread":
            averager.begin(RANK + 1)
        backward(model, RANK + step)
        assert averager.finish(RANK + 1 if overlap == "after" else None) == n
        check(model, sum(r * (r + 1) for r in range(SIZE)) / n + step, rtol=1e-5)
    averager.close()


@pytest.mark.parametrize("has_passed", [True, False])
def test_an_empty_share_counts_as_zeros(has_passed: bool, overlap: Any) -> None:
    model = network()
    averager = GradientAverager(model, WORLD, overlap=overlap, **SMALL)
    mine = 0 if RANK == 0 else 3  # with one rank nobody has samples
    if overlap == "thread":
        averager.begin(mine)
    if mine or has_passed:
        backward(model, 2.0 if mine else float("nan"))
    assert averager.finish(mine if overlap == "after" else None) == 3 * (SIZE - 1)
    if SIZE > 1:
        check(model, 2.0, rtol=1e-5)
    else:
        assert all(p.grad is None for p in model.parameters())
    averager.close()


def test_in_a_thread_the_weight_must_be_known_before() -> None:
    model = network()
    averager = GradientAverager(model, WORLD, overlap="thread")
    with pytest.raises(TrainerError, match=r"give the number of samples to begin\(\) before it"):
        averager.finish(3)
    averager.close()


def test_gradients_add_up_over_several_passes(overlap: Any) -> None:
    model = network()
    averager = GradientAverager(model, WORLD, overlap=overlap, **SMALL)
    for last_inside in (False, overlap == "after"):
        averager.zero_grad()
        with averager.accumulate():
            backward(model, RANK)
            backward(model, 1)
            if last_inside:
                backward(model, 5)
        if not last_inside:
            backward(model, 5)
        averager.finish()
        check(model, (SIZE - 1) / 2 + 6)
    averager.close()


def test_passes_that_would_mix_with_sent_gradients_are_refused(overlap: Any) -> None:
    model = nn.Linear(3, 2)
    averager = GradientAverager(model, WORLD, overlap=overlap)
    backward(model, 1)
    with pytest.raises(TrainerError, match=r"gradient of '(weight|bias)' was added to .*accumul"):
        backward(model, 1)
    averager.finish()
    with pytest.raises(TrainerError, match=r"call optimizer.zero_grad\(\) after each step"):
        backward(model, 1)
    averager.close()


def test_parameters_without_a_gradient(overlap: Any) -> None:
    """Used on one rank: the others add zeros. Used on none: no gradient, as with one process."""
    some, none = nn.Linear(3, 2), nn.Linear(2, 2)
    model = nn.Sequential(some, none)
    averager = GradientAverager(model, WORLD, overlap=overlap, **SMALL)
    for _ in range(2):
        averager.zero_grad()
        if RANK == SIZE - 1:
            backward(some, float(SIZE))
        averager.finish()
        check(some, 1.0)
        assert none.weight.grad is None
    averager.zero_grad()
    backward(model, 1.0)
    averager.finish()
    check(model, 1.0)
    averager.close()


def test_gradients_set_by_hand_are_averaged() -> None:
    model = nn.Linear(3, 2)
    averager = GradientAverager(model, WORLD)
    model.weight.grad = torch.full((2, 3), float(RANK))
    averager.finish()
    torch.testing.assert_close(model.weight.grad, torch.full((2, 3), (SIZE - 1) / 2))
    averager.close()


def test_clipping_by_the_global_norm() -> None:
    model = network()
    averager = GradientAverager(model, WORLD, **SMALL)
    backward(model, RANK)
    averager.finish()
    whole = torch.cat([grad_of(p).reshape(-1) for p in model.parameters()])
    norm = averager.clip(0.5)
    assert norm == pytest.approx(float(whole.norm()), rel=1e-5)
    clipped = torch.cat([grad_of(p).reshape(-1) for p in model.parameters()])
    assert float(clipped.norm()) == pytest.approx(min(0.5, norm), rel=1e-4, abs=1e-6)
    averager.close()


def test_gradients_lie_as_their_parameters_do() -> None:
    model = nn.Conv2d(3, 4, 3)
    model.weight.data = model.weight.data.to(memory_format=torch.channels_last)
    averager = GradientAverager(model, WORLD)
    backward(model, RANK)
    averager.finish()
    assert grad_of(model.weight).stride() == model.weight.stride()
    check(model, (SIZE - 1) / 2)
    averager.close()


class Mixed(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 2), value).t())
        self.frozen = nn.Parameter(torch.full((2,), value), False)
        self.wide = nn.Parameter(torch.full((2,), value, dtype=torch.float64))
        self.narrow = nn.Parameter(torch.full((5,), value, dtype=torch.bfloat16))
        self.short = nn.Parameter(torch.full((5,), value, dtype=torch.float16))
        self.count: Tensor
        self.register_buffer("count", torch.tensor(int(value)))
        self.register_buffer("empty", torch.empty(0))


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_types_are_summed_each_in_its_own(host: str | None, overlap: Any) -> None:
    model = Mixed(RANK + 7.0)
    averager = GradientAverager(model, WORLD, overlap=overlap, host=host)
    for tensor in (*model.parameters(), model.count):
        assert bool((tensor == 7).all()), "parameters and buffers start as those of rank 0"
    for parameter in (model.weight, model.wide, model.narrow, model.short):
        parameter.grad = torch.full_like(parameter, RANK)
    averager.finish()
    for parameter in (model.weight, model.wide, model.narrow, model.short):
        assert grad_of(parameter).dtype == parameter.dtype
        wanted = torch.full_like(parameter, (SIZE - 1) / 2)
        torch.testing.assert_close(grad_of(parameter), wanted, rtol=1e-2, atol=0)
    assert model.frozen.grad is None
    averager.close()


@pytest.mark.parametrize("buffers", ["broadcast", "own"])
def test_buffers(buffers: Any) -> None:
    model = nn.BatchNorm1d(2)
    averager = GradientAverager(model, WORLD, buffers=buffers)
    torch.autograd.backward(model(torch.randn(4, 2) + RANK).sum())
    mine = model.running_mean.clone() if model.running_mean is not None else torch.zeros(2)
    averager.finish()
    rows = [torch.frombuffer(bytearray(row), dtype=torch.float32)
            for row in WORLD.gather(mine.numpy().tobytes())]  # fmt: skip
    torch.testing.assert_close(model.running_mean, rows[0 if buffers == "broadcast" else RANK])
    averager.close()


def test_hand_over_through_staging_buffers() -> None:
    """What carries gradients of a GPU, on memory of the CPU."""
    from trainers.gradients.device_streams import HostStreams
    from trainers.gradients.mpi_allreduce import StagedRoute

    flat = torch.arange(1000.0)
    route = StagedRoute(WORLD, 132, HostStreams())
    for n in (1000, 33, 1, 0):
        array = flat[:n].clone()
        route.sum(array, RANK + 1, None)
        torch.testing.assert_close(array, flat[:n] * (SIZE * (SIZE + 1) // 2))


def test_memory_that_cannot_be_shared_is_not() -> None:
    """As in containers: ranks of one name, whose files nobody sees."""
    with pytest.MonkeyPatch.context() as patch:
        if RANK == SIZE - 1:
            patch.setattr("trainers.gradients.node_memory.os.getpid", lambda: 2**30)
        model = network()
        averager = GradientAverager(model, WORLD)
    backward(model, RANK)
    averager.finish()
    check(model, (SIZE - 1) / 2)
    averager.close()


def models() -> Iterator[tuple[nn.Module, dict[str, Any], str]]:
    """What differs on the last rank, and the message."""
    last = RANK == SIZE - 1
    width = 5 if last else 4
    yield nn.Sequential(nn.Linear(3, width)), {}, rf"0\.weight float32\[4, 3\].* rank {SIZE - 1} "
    order = [("b", 1), ("a", 1)] if last else [("a", 1), ("b", 1)]
    named = nn.ModuleDict({name: nn.Linear(n, 2) for name, n in order})
    yield named, {}, rf"a\.weight float32\[2, 1\].* rank {SIZE - 1} has b\.weight"
    count = nn.Sequential(*[nn.Linear(2, 2) for _ in range(2 - last)])
    yield count, {}, rf"rank 0 has 1\.weight .* rank {SIZE - 1} has overlap"
    sizes = {"piece_bytes": 8 if last else 16}
    yield nn.Linear(2, 2), sizes, f"rank 0 has overlap .* rank {SIZE - 1} has overlap"


@pytest.mark.parametrize("which", range(4))
def test_different_models_are_found_on_all_ranks(which: int) -> None:
    model, options, message = list(models())[which]
    if SIZE == 1:
        GradientAverager(model, WORLD, **options).close()
        return
    with pytest.raises(CollectiveMismatch, match=message):
        GradientAverager(model, WORLD, **options)


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, dtype=torch.complex64))


def test_gradients_that_cannot_be_summed_are_refused() -> None:
    with pytest.raises(TrainerError, match=re.escape("'weight' is torch.complex64")):
        GradientAverager(Complex(), WORLD)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap": "never"}, "overlap='never': give one of 'auto', 'thread', 'after'"),
        ({"buffers": "mine"}, "buffers='mine': give one of 'broadcast', 'own'"),
        ({"bucket_bytes": 0}, "bucket_bytes=0: give 1 or more"),
        ({"piece_bytes": 1.5}, "piece_bytes=1.5: give an integer"),
        ({"comm": 3}, "comm=3: give an mpi4py communicator"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        GradientAverager(nn.Linear(2, 2), **{"comm": WORLD, **options})


@pytest.mark.parametrize("n_samples", [-1, 1.5, "2"])
def test_a_share_is_a_number_of_samples(n_samples: Any) -> None:
    averager = GradientAverager(nn.Linear(2, 2), WORLD, overlap="after")
    for use in (averager.begin, averager.finish):
        with pytest.raises(ConfigError, match=f"n_samples_local={n_samples!r}"):
            use(n_samples)
    averager.close()


def test_close_twice() -> None:
    model = nn.Linear(2, 2)
    averager = GradientAverager(model, WORLD, overlap="thread")
    backward(model, 1)
    averager.finish()
    averager.close()
    averager.close()
    model.zero_grad()
    backward(model, 1)  # no hook is left


def test_nothing_stays_of_an_averager_on_a_communicator() -> None:
    before = set(roll_call._COORDINATOR._states)
    GradientAverager(network(), WORLD.comm).close()
    assert set(roll_call._COORDINATOR._states) == before
