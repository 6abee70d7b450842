"""Training out of core gives what training in core gives, bit for bit."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

import trainers
from trainers.models.gpt import GPT
from trainers.out_of_core import OutOfCore
from trainers.out_of_core.inventory import Inventory
from trainers.out_of_core.planning.plan import Policy, least_bytes

MakeOptimizer = Callable[[Any], optim.Optimizer]
Batch = Callable[[int], tuple[Tensor, Tensor]]

N_STEPS = 5


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small nets are fastest so, and other programs' load matters less."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sgd(parameters: Any) -> optim.Optimizer:
    return optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3)


def adam(parameters: Any) -> optim.Optimizer:
    return optim.Adam(parameters, lr=1e-3)


def layer(n: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Dropout(0.2))


def mlp() -> nn.Module:
    return nn.Sequential(*(layer(64) for _ in range(6)), nn.Linear(64, 10))


def flat_mlp() -> nn.Module:
    """Layers alone are segments: results are saved by two of them, and some by none."""
    parts: list[nn.Module] = []
    for _ in range(4):
        parts += [nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Identity()]
    return nn.Sequential(*parts, nn.Linear(64, 10))


def conv() -> nn.Module:
    def part(n_in: int, n_out: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
        )

    return nn.Sequential(
        part(1, 16), part(16, 16), nn.MaxPool2d(2), part(16, 32), part(32, 32), nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )  # fmt: skip


def vectors(step: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(100 + step)
    return torch.randn(32, 64), torch.randint(10, (32,))


def images(step: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(100 + step)
    return torch.randn(16, 1, 8, 8), torch.randint(10, (16,))


def tokens(step: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(100 + step)
    text = torch.randint(50, (4, 17))
    return text[:, :-1], text[:, 1:]


def loss_of(scores: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(scores.flatten(0, -2), y.flatten())


def in_core(model: nn.Module, make: MakeOptimizer, batch: Batch) -> list[float]:
    optimizer, losses = make([p for p in model.parameters() if p.requires_grad]), []
    for step in range(N_STEPS):
        x, y = batch(step)
        loss = loss_of(model(x), y)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def run(trained: OutOfCore, batch: Batch, budget_bytes: int) -> list[float]:
    losses = []
    for step in range(N_STEPS):
        x, y = batch(step)
        loss = loss_of(trained(x), y)
        torch.autograd.backward(loss)
        trained.step()
        assert 0 < trained.peak_bytes <= budget_bytes
        losses.append(loss.item())
    return losses


def bytes_of(
    model: nn.Module, make: MakeOptimizer, batch: Batch, **options: Any
) -> tuple[int, int]:
    """The least budget that works, and one that is enough for all."""
    model = copy.deepcopy(model)
    ready = [p for p in model.parameters() if p.requires_grad]
    with trainers.out_of_core(model, make(ready), budget_bytes=1 << 40, **options) as trained:
        run(trained, batch, 1 << 40)
        kept = trained.plan.peak_bytes
    least = least_bytes(trained.profile)[0] if trained.profile else 0
    return least, kept


def check(
    make_model: Callable[[], nn.Module], make: MakeOptimizer, batch: Batch, **options: Any
) -> None:
    """Compare with training in core, at several budgets and in each way."""
    torch.manual_seed(0)
    model = make_model()
    least, kept = bytes_of(model, make, batch, **options)
    assert least < kept
    reference = copy.deepcopy(model)
    losses = in_core(reference, make, batch)
    ways: tuple[tuple[int, Policy], ...] = (
        (least, "planned"), ((least + kept) // 2, "planned"), (kept, "planned"),
        (least, "everything"), (kept, "on demand"),
    )  # fmt: skip
    for budget, policy in ways:
        part = copy.deepcopy(model)
        optimizer = make([p for p in part.parameters() if p.requires_grad])
        with trainers.out_of_core(
            part, optimizer, budget_bytes=budget, policy=policy, **options
        ) as trained:
            assert run(trained, batch, budget) == losses
            saved = trained.state_dict()["model"]
        assert_equal(part.state_dict(), reference.state_dict())
        assert_equal(saved, reference.state_dict())


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("model", [mlp, flat_mlp])
def test_equals_in_core_with_dropout(model: Callable[[], nn.Module], make: MakeOptimizer) -> None:
    check(model, make, vectors)


def test_equals_in_core_with_batch_norm() -> None:
    check(conv, sgd, images)


def test_equals_in_core_for_a_gpt_with_shared_weights() -> None:
    check(lambda: GPT(50, 16, 32, 3, 2), adam, tokens, segments=["blocks"])


def test_equals_in_core_with_frozen_parts() -> None:
    def half_frozen() -> nn.Module:
        model = mlp()
        for i in (0, 1, 3):
            model.get_submodule(str(i)).requires_grad_(False)
        return model

    check(half_frozen, adam, vectors)


def test_equals_in_core_in_bfloat16() -> None:
    def half(step: int) -> tuple[Tensor, Tensor]:
        x, y = vectors(step)
        return x.bfloat16(), y

    check(lambda: mlp().bfloat16(), sgd, half)


class Narrow(nn.Sequential):
    """Computes in bfloat16, as a loop with autocast around its forward pass does."""

    def __call__(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            result: Tensor = super().__call__(x)
        return result


def test_equals_in_core_with_autocast() -> None:
    check(lambda: Narrow(*mlp().children()), adam, vectors)


@pytest.mark.parametrize(("make_model", "batch"), [(conv, images), (flat_mlp, vectors)])
def test_recomputes_where_that_is_cheaper(
    make_model: Callable[[], nn.Module], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout draws the same again, and statistics of batch norms do not change twice."""
    monkeypatch.setattr(Inventory, "rate", lambda self: 1e3)  # copies take forever
    torch.manual_seed(0)
    model = make_model()
    least, kept = bytes_of(model, sgd, batch)
    reference = copy.deepcopy(model)
    losses = in_core(reference, sgd, batch)
    budget = (least + kept) // 2
    with trainers.out_of_core(model, sgd(model.parameters()), budget_bytes=budget) as trained:
        assert run(trained, batch, budget) == losses
        assert trained.plan.recomputed
    assert_equal(model.state_dict(), reference.state_dict())


def test_spills_to_a_file_without_a_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = mlp()
    reference = copy.deepcopy(model)
    losses = in_core(reference, adam, vectors)
    least, _ = bytes_of(model, adam, vectors)
    with trainers.out_of_core(
        model, adam(model.parameters()), budget_bytes=least, spill=tmp_path
    ) as trained:
        assert run(trained, vectors, least) == losses
        assert list(tmp_path.iterdir()) == []
    assert_equal(model.state_dict(), reference.state_dict())
