"""What needs a GPU under MPI: gradients there, by staging and by a CUDA-aware MPI."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers import GradientAverager
from trainers.gradients.device_streams import CudaStreams
from trainers.models.sync_batch_norm import synchronise
from trainers.world.cuda_aware import is_cuda_aware
from trainers.world.world import connect, local_rank

HAS_GPU = torch.cuda.is_available()
pytestmark = [
    pytest.mark.mpi,
    pytest.mark.gpu,
    pytest.mark.skipif(not HAS_GPU, reason="needs a CUDA device"),
]

WORLD = connect(timeout_s=120)
RANK, SIZE = WORLD.rank, WORLD.size
MEAN = sum(range(1, SIZE + 1)) / SIZE
SMALL: dict[str, Any] = {"first_bucket_bytes": 64, "bucket_bytes": 1000, "piece_bytes": 132}


@pytest.fixture
def device() -> torch.device:
    found = torch.device("cuda", local_rank(WORLD) % torch.cuda.device_count())
    torch.cuda.set_device(found)
    return found


def network(device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 40), nn.ReLU(), nn.Linear(40, 30)).to(device, dtype)


def backward(model: nn.Module, value: float) -> None:
    """Return every parameter a gradient of numbers that tell its place, times a value."""
    parts = [(p * numbers(p) * value).sum() for p in model.parameters()]
    torch.autograd.backward(torch.stack(parts).sum())


def numbers(p: Tensor) -> Tensor:
    return torch.arange(p.numel(), device=p.device).reshape(p.shape) % 64


def check(model: nn.Module, value: float, rtol: float = 1e-6) -> None:
    for p in model.parameters():
        assert p.grad is not None
        assert p.grad.device == p.device
        wanted = (numbers(p) * value).to(p.dtype)
        torch.testing.assert_close(p.grad, wanted, rtol=rtol, atol=0)


@pytest.mark.parametrize("overlap", ["auto", "thread", "after"])
@pytest.mark.parametrize("cuda_aware", [False, True])
def test_gradients_on_a_gpu(overlap: Any, cuda_aware: bool, device: torch.device) -> None:
    if cuda_aware and not is_cuda_aware():
        pytest.skip("this MPI takes no GPU memory")
    model = network(device)
    averager = GradientAverager(model, WORLD, overlap=overlap, cuda_aware=cuda_aware, **SMALL)
    for _ in range(15):  # past the measuring of `auto`
        averager.zero_grad()
        averager.begin(3)
        backward(model, RANK + 1)
        assert averager.finish() == 3 * SIZE
        check(model, MEAN)
    averager.close()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_gradients_on_a_gpu(dtype: torch.dtype, device: torch.device) -> None:
    model = network(device, dtype)
    averager = GradientAverager(model, WORLD, **SMALL)
    backward(model, RANK + 1)
    averager.finish()
    check(model, MEAN, rtol=0.02)
    averager.close()


def test_uneven_shares_on_a_gpu(device: torch.device) -> None:
    """The mean over all samples of rank + 1, which rank + 1 samples have."""
    model = network(device)
    averager = GradientAverager(model, WORLD, overlap="thread", **SMALL)
    averager.begin(RANK + 1)
    backward(model, RANK + 1)
    total = averager.finish()
    check(model, sum((rank + 1) ** 2 for rank in range(SIZE)) / total)
    averager.close()


def test_parameters_on_a_gpu_and_on_the_cpu(device: torch.device) -> None:
    model = nn.ModuleList([nn.Linear(3, 5).to(device), nn.Linear(5, 2)])
    averager = GradientAverager(model, WORLD, **SMALL)
    losses = [(p * numbers(p) * (RANK + 1)).sum().cpu() for p in model.parameters()]
    torch.autograd.backward(torch.stack(losses).sum())
    averager.finish()
    check(model, MEAN)
    averager.close()


def test_a_long_queue_of_work_is_waited_for(device: torch.device) -> None:
    """Sums of gradients that the GPU has not computed yet would be of what was there before."""
    model = nn.Linear(2000, 2000, bias=False, device=device)
    averager = GradientAverager(model, WORLD, overlap="thread")
    for step in range(3):
        averager.zero_grad()
        slow = torch.eye(2000, device=device)
        for _ in range(50):
            slow = slow @ torch.eye(2000, device=device)
        torch.autograd.backward((model.weight * slow.sum() * (RANK + 1 + step)).sum())
        averager.finish()
        assert model.weight.grad is not None
        wanted = torch.full_like(model.weight, 2000 * (MEAN + step))
        torch.testing.assert_close(model.weight.grad, wanted)
    averager.close()


def test_batch_norms_over_all_ranks_on_a_gpu(device: torch.device) -> None:
    torch.manual_seed(3)
    whole = torch.randn(4 * SIZE, 6, 5)
    alone = nn.BatchNorm1d(6)
    wanted = alone(whole)[4 * RANK : 4 * RANK + 4]
    norm = synchronise(nn.BatchNorm1d(6).to(device), WORLD)
    found = norm(whole[4 * RANK : 4 * RANK + 4].to(device))
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var.cpu(), alone.running_var)


def test_streams_wait_for_each_other(device: torch.device) -> None:
    streams = CudaStreams(device)
    host = streams.host_buffer(1000, torch.float32)
    assert host.is_pinned()
    values = torch.zeros(1000, device=device)
    for _ in range(100):
        values += 1
    with streams.beside(streams.mark()):
        host.copy_(values, non_blocking=True)
        arrived = streams.mark()
        values.mul_(2)
    streams.wait(arrived)
    assert host.tolist() == [100.0] * 1000
    streams.rejoin()
    assert values.tolist() == [200.0] * 1000
