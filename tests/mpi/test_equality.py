"""100 steps on any number of ranks equal those of one process, and those of DDP over gloo.

float32: to 1e-4 of each parameter or 1e-5, ten times that with batch norms: sums over ranks round
in another order than sums over a batch, and 100 steps carry that on. bfloat16 parameters: to 3 %,
some steps of its 8 bits.
"""

import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

from trainers import GradientAverager
from trainers.models.sync_batch_norm import synchronise
from trainers.world.world import World, connect

pytestmark = pytest.mark.mpi

WORLD = connect(timeout_s=120)
RANK, SIZE = WORLD.rank, WORLD.size
N_STEPS = 100
torch.set_num_threads(1)

Optimizer = Callable[..., optim.Optimizer]
OPTIMIZERS: dict[str, tuple[Optimizer, dict[str, float]]] = {
    "momentum": (optim.SGD, {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-3}),
    "adam": (optim.Adam, {"lr": 1e-3}),
}


class Tied(nn.Module):
    """Parameters that are shared, frozen, and used in no pass or in some."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(8, 8)
        self.frozen = nn.Linear(8, 8)
        self.frozen.requires_grad_(False)
        self.unused = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, rows: Tensor) -> Tensor:
        hidden = torch.tanh(self.shared(torch.tanh(self.frozen(torch.tanh(self.shared(rows))))))
        logits: Tensor = self.head(hidden)
        return logits


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))


def normed() -> nn.Module:
    """Have no bias before a norm: its gradient is rounding alone, of which Adam makes steps."""
    return nn.Sequential(
        nn.Unflatten(1, (2, 2, 2)), nn.Conv2d(2, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(),
        nn.Linear(24, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3),
    )  # fmt: skip


NETWORKS: dict[str, Callable[[], nn.Module]] = {"plain": plain, "tied": Tied, "normed": normed}


def batches(n: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(N_STEPS):
        yield torch.randn(n, 8, generator=generator), torch.randint(3, (n,), generator=generator)


def even_share(n: int, step: int) -> slice:
    return slice(n * RANK // SIZE, n * (RANK + 1) // SIZE)


def uneven_share(n: int, step: int) -> slice:
    """Uneven shares of a batch: the last rank's is empty in odd steps."""
    n_takers = max(1, SIZE - step % 2)
    cuts = [n * min(i, n_takers) ** 2 // n_takers**2 for i in range(SIZE + 1)]
    return slice(cuts[RANK], cuts[RANK + 1])


def make(network: str, optimizer: str, seed: int = 0) -> tuple[nn.Module, optim.Optimizer]:
    torch.manual_seed(seed)
    model = NETWORKS[network]()
    kind, options = OPTIMIZERS[optimizer]
    return model, kind((p for p in model.parameters() if p.requires_grad), **options)


def train_alone(model: nn.Module, optimizer: optim.Optimizer, n: int) -> None:
    for rows, labels in batches(n):
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(model(rows), labels))
        optimizer.step()


def train_together(
    model: nn.Module, optimizer: optim.Optimizer, averager: GradientAverager, n: int, share: Any,
    is_begun: bool = False,
) -> None:  # fmt: skip
    for step, (rows, labels) in enumerate(batches(n)):
        rows, labels = rows[share(n, step)], labels[share(n, step)]
        optimizer.zero_grad()
        if is_begun:
            averager.begin(len(rows))
        loss = cross_entropy(model(rows), labels, reduction="sum") / max(1, len(rows))
        torch.autograd.backward(loss)
        assert averager.finish(None if is_begun else len(rows)) == n
        optimizer.step()


def assert_same(model: nn.Module, other: nn.Module) -> None:
    theirs = other.state_dict()
    loose = 10 if any("running_mean" in name for name in theirs) else 1
    for name, ours in model.state_dict().items():
        try:
            torch.testing.assert_close(ours, theirs[name], rtol=loose * 1e-4, atol=loose * 1e-5)
        except AssertionError as error:
            raise AssertionError(name) from error


def assert_ranks_agree(world: World, model: nn.Module) -> None:
    flat = torch.cat([p.detach().float().reshape(-1) for p in model.parameters()])
    assert len(set(world.gather(flat.numpy().tobytes()))) == 1, "ranks drifted apart"


CASES = [
    *(("plain", name, overlap) for name in OPTIMIZERS for overlap in ("after", "thread")),
    *(("tied", name, "after") for name in OPTIMIZERS),
    ("normed", "momentum", "after"),
]


@pytest.mark.parametrize(("network", "optimizer", "overlap"), CASES)
def test_uneven_shares_equal_one_process(network: str, optimizer: str, overlap: Any) -> None:
    alone, solo_optimizer = make(network, optimizer)
    before = [p.detach().clone() for p in alone.parameters()]
    train_alone(alone, solo_optimizer, 13)
    assert not all(torch.equal(a, b) for a, b in zip(alone.parameters(), before, strict=True))
    model, own_optimizer = make(network, optimizer, seed=RANK)
    synchronise(model, WORLD)
    averager = GradientAverager(
        model, WORLD, overlap=overlap, bucket_bytes=500, first_bucket_bytes=99, piece_bytes=256
    )
    train_together(model, own_optimizer, averager, 13, uneven_share, overlap == "thread")
    averager.close()
    assert_same(model, alone)
    assert_ranks_agree(WORLD, model)


@pytest.fixture(scope="module")
def gloo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    path = str(tmp_path_factory.mktemp("gloo") / "store")
    path = WORLD.gather(path.encode())[0].decode()
    store = dist.FileStore(path, SIZE)  # type: ignore[attr-defined]
    dist.init_process_group(
        "gloo", store=store, rank=RANK, world_size=SIZE, timeout=timedelta(seconds=60)
    )
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("network", "optimizer"), [("plain", "adam"), ("tied", "momentum"), ("normed", "momentum")]
)
def test_even_shares_equal_ddp(network: str, optimizer: str, gloo: None) -> None:
    """Batch norms: each rank normalises by its own samples, and has the statistics of rank 0."""
    other, other_optimizer = make(network, optimizer)
    unused = network == "tied"
    peer = nn.parallel.DistributedDataParallel(other, find_unused_parameters=unused)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step, (rows, labels) in enumerate(batches(48)):
            mine = even_share(48, step)
            other_optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(peer(rows[mine]), labels[mine]))
            other_optimizer.step()
    model, own_optimizer = make(network, optimizer, seed=RANK)
    averager = GradientAverager(model, WORLD, buffers="broadcast")
    train_together(model, own_optimizer, averager, 48, even_share)
    averager.close()
    assert_ranks_agree(WORLD, model)
    if RANK == 0:  # DDP hands buffers out when the next pass begins
        assert_same(model, other)


def test_bfloat16_parameters() -> None:
    alone, solo_optimizer = make("plain", "momentum")
    train_alone(alone, solo_optimizer, 12)
    model, optimizer = make("plain", "momentum")
    model.to(torch.bfloat16)
    averager = GradientAverager(model, WORLD)
    for step, (rows, labels) in enumerate(batches(12)):
        mine = even_share(12, step)
        optimizer.zero_grad()
        loss = cross_entropy(model(rows[mine].bfloat16()).float(), labels[mine])
        torch.autograd.backward(loss)
        averager.finish()
        optimizer.step()
    averager.close()
    assert_ranks_agree(WORLD, model)
    for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.float(), theirs, rtol=3e-2, atol=3e-2)


def test_gradients_accumulated_over_parts_of_a_batch_equal_one_process() -> None:
    alone, solo_optimizer = make("plain", "adam")
    train_alone(alone, solo_optimizer, 24)
    model, optimizer = make("plain", "adam")
    averager = GradientAverager(model, WORLD)
    for step, (rows, labels) in enumerate(batches(24)):
        mine = even_share(24, step)
        parts = list(zip(rows[mine].chunk(2), labels[mine].chunk(2), strict=True))
        optimizer.zero_grad()
        with averager.accumulate():
            for part_rows, part_labels in parts[:-1]:
                torch.autograd.backward(cross_entropy(model(part_rows), part_labels) / 2)
        torch.autograd.backward(cross_entropy(model(parts[-1][0]), parts[-1][1]) / 2)
        averager.finish()
        optimizer.step()
    averager.close()
    assert_same(model, alone)
