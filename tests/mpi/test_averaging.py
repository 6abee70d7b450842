"""Right for any number of ranks: every expected value is a formula of rank and size."""

import pytest
import torch
from torch import Tensor, nn

from datafeed.errors import CollectiveMismatch, TrainerError
from trainers.averaging import GradientAverager
from trainers.world import SoloWorld, World, connect

pytestmark = pytest.mark.mpi

WORLD = connect(timeout_s=120)
RANK, SIZE = WORLD.rank, WORLD.size
torch.set_num_threads(1)  # the ranks share the cores


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 16), nn.Linear(16, 3)
    )


def grad_of(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def parameters(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


# Small buckets and pieces, so that several of each are needed.
SMALL = {"first_bucket_bytes": 64, "bucket_bytes": 1000, "piece_bytes": 132}


@pytest.mark.parametrize("sizes", [{}, SMALL])
def test_equal_shares_give_the_mean_over_ranks(sizes: dict[str, int]) -> None:
    model = network()
    averager = GradientAverager(model, WORLD, **sizes)
    for i, p in enumerate(model.parameters()):
        grad_of(p).copy_(torch.arange(p.numel()).reshape(p.shape) * (RANK + 1) + i)
    assert averager.finish() == SIZE
    for i, p in enumerate(model.parameters()):
        mean = torch.arange(p.numel()).reshape(p.shape) * (SIZE + 1) / 2 + i
        torch.testing.assert_close(p.grad, mean, rtol=1e-6, atol=1e-4)
    averager.close()


def test_gradients_are_weighted_by_the_samples_of_all_ranks() -> None:
    model = nn.Linear(3, 2)
    averager = GradientAverager(model, WORLD)
    grad_of(model.weight).fill_(RANK)  # rank r has r samples, rank 0 none
    grad_of(model.bias).fill_(float("nan") if RANK == 0 else 1)
    n = SIZE * (SIZE - 1) // 2
    assert averager.finish(n_samples_local=RANK) == n
    mean = sum(r * r for r in range(SIZE)) / n if n else 0.0
    torch.testing.assert_close(model.weight.grad, torch.full((2, 3), mean))
    torch.testing.assert_close(model.bias.grad, torch.full((2,), 1.0 if n else 0.0))
    averager.close()


def shares(n: int, step: int) -> list[range]:
    """Uneven shares of a batch: the last rank's is empty in odd steps."""
    n_takers = max(1, SIZE - step % 2)
    cuts = [n * i * i // (n_takers * n_takers) for i in range(n_takers + 1)]
    return list(map(range, cuts, cuts[1:])) + [range(n, n)] * (SIZE - n_takers)


def train(model: nn.Module, averager: GradientAverager, world: World, lr: float = 0.1) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for step in range(20):
        images = torch.randn(13, 1, 8, 8, generator=generator)
        labels = torch.randint(3, (13,), generator=generator)
        mine = shares(13, step)[world.rank] if world.size > 1 else range(13)
        averager.zero_grad()
        if len(mine):
            picked = list(mine)
            loss = nn.functional.cross_entropy(model(images[picked]), labels[picked])
            torch.autograd.backward(loss)
        assert averager.finish(len(mine)) == 13
        optimizer.step()


def test_twenty_steps_equal_those_of_one_process() -> None:
    model, alone = network(seed=RANK), network(seed=0)
    averager, solo = GradientAverager(model, WORLD, **SMALL), GradientAverager(alone, None)
    train(model, averager, WORLD)
    train(alone, solo, SoloWorld())
    assert not torch.equal(parameters(alone), parameters(network(seed=0)))
    torch.testing.assert_close(parameters(model), parameters(alone), rtol=1e-4, atol=1e-5)
    everyone = WORLD.gather(parameters(model).numpy().tobytes())
    assert len(set(everyone)) == 1, "ranks drifted apart"
    averager.close()


def test_gradients_that_were_replaced_or_dropped_are_taken_over() -> None:
    used, unused = nn.Linear(3, 2), nn.Linear(2, 2)
    model = nn.Sequential(used, unused)
    averager = GradientAverager(model, WORLD)
    model.zero_grad(set_to_none=True)
    used.weight.grad = torch.full((2, 3), float(RANK))  # the others have none: unused
    averager.finish()
    torch.testing.assert_close(used.weight.grad, torch.full((2, 3), (SIZE - 1) / 2))
    assert not grad_of(unused.weight).any()
    grad_of(used.weight).fill_(1)
    averager.zero_grad()
    assert not grad_of(used.weight).any()
    torch.autograd.backward(model(torch.ones(1, 3)).sum())
    grad_of(used.bias).fill_(RANK)
    averager.finish()
    torch.testing.assert_close(used.bias.grad, torch.full((2,), (SIZE - 1) / 2))
    averager.close()


def test_gradients_lie_as_their_parameters_do() -> None:
    model = nn.Conv2d(3, 4, 3)
    model.weight.data = model.weight.data.to(memory_format=torch.channels_last)
    averager = GradientAverager(model, WORLD)
    assert grad_of(model.weight).stride() == model.weight.stride()
    wanted = torch.arange(model.weight.numel()).reshape(model.weight.shape).float()
    grad_of(model.weight).copy_(wanted)
    averager.finish()
    torch.testing.assert_close(model.weight.grad, wanted)
    averager.close()


class Mixed(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, 2), value).t())
        self.frozen = nn.Parameter(torch.full((2,), value, dtype=torch.bfloat16), False)
        self.wide = nn.Parameter(torch.full((2,), value, dtype=torch.float64))
        self.count: Tensor
        self.register_buffer("count", torch.tensor(int(value)))
        self.register_buffer("empty", torch.empty(0))


def test_parameters_and_buffers_start_as_those_of_rank_0() -> None:
    model = Mixed(RANK + 7.0)
    averager = GradientAverager(model, WORLD)
    for tensor in (*model.parameters(), model.count):
        assert bool((tensor == 7).all())
    assert model.frozen.grad is None
    grad_of(model.wide).fill_(RANK)
    averager.finish()
    torch.testing.assert_close(model.wide.grad, torch.full((2,), (SIZE - 1) / 2).double())
    averager.close()


def test_different_models_are_found_on_all_ranks() -> None:
    width = 5 if RANK == SIZE - 1 else 4
    model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))
    if SIZE == 1:
        GradientAverager(model, WORLD).close()
        return
    with pytest.raises(CollectiveMismatch, match=rf"0\.weight float32\[4, 3\].* rank {SIZE - 1} "):
        GradientAverager(model, WORLD)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_that_mpi_cannot_sum_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TrainerError, match=r"'weight' is torch.*float16.*autocast"):
        GradientAverager(nn.Linear(2, 2).to(dtype), WORLD)


def test_close_twice() -> None:
    averager = GradientAverager(nn.Linear(2, 2), WORLD)
    averager.close()
    averager.close()
