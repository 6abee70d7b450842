"""What goes wrong out of core ends in one line, and leaves nothing behind."""

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn, optim

import trainers
from datafeed.errors import TrainerError
from trainers.out_of_core import OutOfCore
from trainers.out_of_core.memory.device import CountedMemory
from trainers.out_of_core.memory.host import HostPool, MappedFile, PlainMemory

PLENTY = 1 << 40


def net(depth: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(depth)))


def wrap(model: nn.Module, budget_bytes: int = PLENTY, **options: object) -> OutOfCore:
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return trainers.out_of_core(model, optimizer, budget_bytes=budget_bytes, **options)  # type: ignore[arg-type]


def step(trained: OutOfCore, n: int = 8) -> None:
    torch.autograd.backward(trained(torch.ones(n, 64)).square().mean())
    trained.step()


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert not [t.name for t in threading.enumerate() if "out-of-core" in t.name]


def test_a_budget_too_small_says_the_least_that_works() -> None:
    with wrap(net(), 1000) as trained:
        step(trained)
        with pytest.raises(TrainerError, match=r"budget_bytes=1,000 is too small; the least that"):
            step(trained)


def test_a_larger_batch_than_profiled_is_refused_by_the_count() -> None:
    with wrap(net()) as trained:
        for _ in range(3):
            step(trained)
        kept = trained.plan.peak_bytes
    with wrap(net(), kept) as trained:
        for _ in range(3):
            step(trained)
        step(trained, 4)  # a short last batch is fine
        with pytest.raises(TrainerError, match=f"budget_bytes is {kept:,}: the batch is larger"):
            step(trained, 800)


class Failing(nn.Module):
    """Raises when told to, in the forward or the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Linear(64, 64)
        self.error: type[BaseException] | None = None
        self.is_backward = False

    def forward(self, x: Tensor) -> Tensor:
        if self.error is not None and not self.is_backward:
            raise self.error
        y: Tensor = self.part(x)
        if self.error is not None:
            y.register_hook(self.fail)  # type: ignore[no-untyped-call]
        return y

    def fail(self, grad: Tensor) -> None:
        assert self.error is not None
        raise self.error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("n_before", [0, 3])
def test_a_failed_forward_pass_can_be_tried_again(
    error: type[BaseException], n_before: int
) -> None:
    failing = Failing()
    model, reference = nn.Sequential(*net(2), failing, *net(2)), nn.Sequential(*net(2))
    reference.extend([Failing(), *net(2)])
    reference.load_state_dict(model.state_dict())
    with wrap(model, 200_000) as trained:
        for _ in range(n_before):
            step(trained)
        failing.error = error
        with pytest.raises(error):
            step(trained)
        gc.collect()  # the traceback holds the frames of the pass, as pytest holds the traceback
        failing.error = None
        for _ in range(3):
            step(trained)
    optimizer = optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    for _ in range(n_before + 3):
        optimizer.zero_grad()
        torch.autograd.backward(reference(torch.ones(8, 64)).square().mean())
        optimizer.step()
    for found, expected in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_a_failed_backward_pass_is_not_gone_over() -> None:
    failing = Failing()
    model = nn.Sequential(*net(2), failing, *net(2))
    with wrap(model) as trained:
        step(trained)
        failing.error, failing.is_backward = ArithmeticError, True
        with pytest.raises(ArithmeticError):
            step(trained)
        with pytest.raises(TrainerError, match="go on from a checkpoint"):
            step(trained)
    assert all(p.untyped_storage().nbytes() for p in model.parameters())


def test_passes_out_of_turn_are_refused() -> None:
    with wrap(net()) as trained:
        step(trained)
        first = trained(torch.ones(8, 64)).sum()
        second = trained(torch.ones(8, 64)).sum()
        with pytest.raises(TrainerError, match="out of turn"):
            torch.autograd.backward(first)
        torch.autograd.backward(second, retain_graph=True)
        with pytest.raises(TrainerError, match="second backward pass"):
            torch.autograd.backward(second)
        trained.step()
        step(trained)


def test_a_pass_given_up_leaves_no_memory_in_use() -> None:
    with wrap(net()) as trained:
        for _ in range(3):
            step(trained)
        for _ in range(3):
            trained(torch.ones(8, 64))
        step(trained)
        assert trained.peak_bytes == trained.plan.peak_bytes


def test_evaluation_between_passes_and_steps() -> None:
    model = net()
    with wrap(model, 250_000) as trained:
        for _ in range(3):
            step(trained)
        with torch.no_grad():
            before = trained(torch.ones(8, 64))
        loss = trained(torch.ones(8, 64)).square().mean()
        with torch.no_grad():
            assert torch.equal(trained(torch.ones(8, 64)), before)
        torch.autograd.backward(loss)
        trained.step()
    assert not torch.equal(model(torch.ones(8, 64)), before)


def test_inputs_changed_in_place_are_refused() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(inplace=True), nn.Linear(64, 64))
    with (
        wrap(model) as trained,
        pytest.raises(TrainerError, match="'1' changes its input in place"),
    ):
        step(trained)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nothing"], "no module 'nothing'"),
        (["0", "0.0"], "have a module in common"),
    ],
)
def test_wrong_segments_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        wrap(net(), segments=names)


def test_segments_must_be_named_for_other_models_and_in_order() -> None:
    with pytest.raises(TrainerError, match=r"is no nn\.Sequential; name its segments"):
        wrap(Failing())
    with (
        wrap(net(), segments=["1", "0", "2"]) as trained,
        pytest.raises(TrainerError, match="order"),
    ):
        step(trained)


def test_gradients_can_be_changed_before_the_update() -> None:
    seen: list[int] = []
    with wrap(net(3), on_gradients=lambda parameters: seen.append(len(parameters))) as trained:
        step(trained)
    assert seen == [2, 2, 2]


def test_a_spill_file_goes_with_the_trainer(tmp_path: Path) -> None:
    n_before = len(os.listdir("/proc/self/fd"))
    with wrap(net(), 200_000, spill=tmp_path) as trained:
        for _ in range(3):
            step(trained)
        assert list(tmp_path.iterdir()) == []
    trained.close()
    del trained
    assert len(os.listdir("/proc/self/fd")) == n_before


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(fd: int, offset: int, n_bytes: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TrainerError, match=f"{tmp_path}: .*No space left.*spill="):
        wrap(net(), spill=tmp_path)
    with pytest.raises(TrainerError, match="cannot be written there"):
        MappedFile(tmp_path / "missing")


def test_a_host_that_fills_up_half_way_costs_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make(memory: PlainMemory, n_bytes: int) -> Tensor:
        made.append(n_bytes)
        if len(made) > 2:
            raise TrainerError("the host is full")
        return torch.empty(n_bytes, dtype=torch.uint8)

    model, reference = net(), net()
    with monkeypatch.context() as patch:
        patch.setattr(PlainMemory, "make", make)
        with pytest.raises(TrainerError, match="the host is full"):
            wrap(model)
    assert len(made) == 3
    for found, expected in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(found, expected)
    with wrap(model) as trained:
        step(trained)


def test_the_state_is_not_to_be_had_from_the_model_meanwhile() -> None:
    model = net()
    saved = model.state_dict()
    with wrap(model) as trained:
        step(trained)
        for owner in (model, model[1], trained._optimizer):
            with pytest.raises(TrainerError, match=r"take the state by trained\.state_dict\(\)"):
                owner.state_dict()
        with pytest.raises(TrainerError, match=r"load one before out_of_core or after close\(\)"):
            model.load_state_dict(saved)
        with pytest.raises(TrainerError, match="load one before"):
            trained._optimizer.load_state_dict({})
        step(trained)
        assert trained.state_dict()["model"].keys() == saved.keys()
    assert trained._optimizer.state_dict()["state"]
    model.load_state_dict(model.state_dict())


def test_a_model_is_trained_by_one_at_a_time() -> None:
    model = net()
    with wrap(model) as trained:
        for other in (model, nn.Sequential(model)):
            with pytest.raises(TrainerError, match=r"out of core already; close\(\) that first"):
                wrap(other)
        step(trained)
    wrap(model).close()


def test_a_forward_of_the_users_own_is_put_back() -> None:
    model = net()
    own = model[1].forward = lambda x: x * 0 + 7
    wrap(model).close()
    assert model[1].forward is own
    assert ["forward" in vars(part) for part in model] == [False, True, False, False]


def test_a_mapped_file_gives_separate_memory_again_and_again(tmp_path: Path) -> None:
    pool = HostPool(MappedFile(tmp_path))
    buffers = [pool.take(n) for n in (5000, 100 << 20, 7)]
    for i, buffer in enumerate(buffers):
        buffer.fill_(i)
    assert [(len(b), int(b[0]), int(b[-1])) for b in buffers] == [
        (5000, 0, 0), (100 << 20, 1, 1), (7, 2, 2)
    ]  # fmt: skip
    pool.give(buffers[0])
    assert pool.take(5000) is buffers[0]
    pool.close()
    pool.close()


def test_memory_is_counted_while_it_lives() -> None:
    memory = CountedMemory(10_000)
    with memory.watch():
        x = torch.zeros(1000)
        y = x.view(10, 100)
        x.add_(1)
    assert memory.level() == 4000
    del x
    assert memory.level() == 4000
    del y
    assert (memory.level(), memory.peak()) == (0, 4000)
    with memory.watch(), pytest.raises(TrainerError, match="12,000 bytes of device memory"):
        torch.zeros(3000)


@pytest.mark.gpu
def test_a_gpu_needs_no_more_than_its_budget() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    model = nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(8)))
    reference = nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(8))).cuda()
    reference.load_state_dict(model.state_dict())
    own = optim.Adam(reference.parameters())
    x = torch.ones(64, 2048, device="cuda")
    optimizer = optim.Adam(model.parameters())
    budget = torch.cuda.memory_allocated() + (150 << 20)
    with trainers.out_of_core(model, optimizer, budget_bytes=budget, device="cuda") as trained:
        for _ in range(5):
            loss, expected = trained(x).square().mean(), reference(x).square().mean()
            torch.autograd.backward(loss)
            trained.step()
            own.zero_grad()
            torch.autograd.backward(expected)
            own.step()
            assert loss.item() == expected.item()
        assert trained.peak_bytes <= budget
