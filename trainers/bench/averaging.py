"""Times averaging of gradients on all ranks; rank 0 prints what each way took as JSON.

::

    mpirun -n 2 python -m trainers.bench.averaging [--quick] [--case TEXT]
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from datafeed.bench.harness.measure import Timing, Variant, interleave
from trainers import GradientAverager
from trainers.bench.checkpointing import checkpoint_steps
from trainers.models.resnet import resnet18
from trainers.world.world import MpiWorld, World, connect, n_cores

_MIB = 1 << 20
_IDLE_S = 0.0015
"""Of each of 25 layers: 37 ms in all, as a GPU would compute."""


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--case", default="", help="only cases with this in their name")
    arguments = parser.parse_args()
    is_quick = arguments.quick
    world = connect(120)
    torch.set_num_threads(n_cores(world))
    warnings.simplefilter("ignore")  # DDP's, about what it will do some day
    _start_gloo(world)
    for case in (name for name in CASES if arguments.case in name):
        make = CASES[case]
        closing: list[Callable[[], None]] = []
        ways = [
            Variant(name, run, _together(world, before))
            for name, run, before in make(world, is_quick, closing)
        ]
        interleave(ways, 1)  # memory is touched, connections are made
        timings = interleave(ways, 2 if is_quick else ROUNDS[case])
        slowest = {name: _slowest(world, timing) for name, timing in timings.items()}
        if world.rank == 0:
            print(json.dumps({"case": case, "ways": slowest}), flush=True)
        for close in closing:
            close()
    dist.destroy_process_group()
    world.close()


def _start_gloo(world: World) -> None:
    path = mkdtemp(prefix="datafeed-bench-") if world.rank == 0 else ""
    path = world.gather(path.encode())[0].decode()
    store = dist.FileStore(f"{path}/store", world.size)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=world.rank, world_size=world.size)
    world.gather(b"")
    if world.rank == 0:
        rmtree(path)


def _together(world: World, before: Callable[[], None]) -> Callable[[], None]:
    flushed = np.ones(64 << 20, np.uint8)

    def start() -> None:
        before()
        np.add(flushed, 1, out=flushed)  # out of the caches, where a backward pass leaves little
        world.gather(b"")

    return start


def _slowest(world: World, timing: Timing) -> dict[str, list[float]]:
    """Take the slowest rank's time of each round, and the mean of their CPU times."""
    mine = np.array([timing.seconds, timing.cpu_seconds])
    ranks = [np.frombuffer(row).reshape(mine.shape) for row in world.gather(mine.tobytes())]
    all_ranks = np.stack(ranks)
    return {
        "seconds": all_ranks[:, 0].max(axis=0).tolist(),
        "cpu_seconds": all_ranks[:, 1].mean(axis=0).tolist(),
    }


Way = tuple[str, Callable[[], None], Callable[[], None]]
Closing = list[Callable[[], None]]


class _Flat(nn.Module):
    """Parameters of 1 MiB, or a little less of a narrower type."""

    def __init__(self, n_bytes: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        n = n_bytes // 4
        step = min(n, _MIB // 4)
        self.parts = nn.ParameterList(
            nn.Parameter(torch.ones(min(step, n - start), dtype=dtype))
            for start in range(0, n, step)
        )

    def arrive(self) -> None:
        """Return every parameter a gradient, as a backward pass does."""
        for part in self.parts:
            part.grad = None
        torch.autograd.backward(list(self.parts), [torch.ones_like(part) for part in self.parts])


def _nothing() -> None:
    pass


def _averaging(mib: int) -> Callable[[World, bool, Closing], Iterator[Way]]:
    def ways(world: World, is_quick: bool, closing: Closing) -> Iterator[Way]:
        n_bytes = _MIB if is_quick else mib * _MIB
        model = _Flat(n_bytes)
        averager = GradientAverager(model, world)
        closing.append(averager.close)
        assert isinstance(world, MpiWorld)
        comm, whole = world.comm, np.ones(n_bytes // 4, np.float32)
        tensor = torch.ones(n_bytes // 4)

        def allreduce() -> None:
            world.sum(whole)

        yield "trainers", lambda: _ignore(averager.finish()), model.arrive
        yield "one whole Allreduce", allreduce, lambda: whole.fill(1)
        yield "gloo", lambda: _ignore(dist.all_reduce(tensor)), lambda: _ignore(tensor.fill_(1))
        assert comm is not None

    return ways


def _ignore(value: object) -> None:
    pass


def _half(world: World, is_quick: bool, closing: Closing) -> Iterator[Way]:
    n_bytes = _MIB if is_quick else 25 * _MIB
    for dtype in (torch.float32, torch.bfloat16):
        model = _Flat(n_bytes, dtype)
        averager = GradientAverager(model, world)
        closing.append(averager.close)
        finish = averager.finish
        name = str(dtype).removeprefix("torch.")
        yield name, lambda finish=finish: _ignore(finish()), model.arrive  # type: ignore[misc]


def _steps(world: World, is_quick: bool, closing: Closing) -> Iterator[Way]:
    """Whole steps of ResNet-18: forward, backward, averaging, SGD."""
    n, side = 2 if is_quick else 4, 32
    images = torch.randint(256, (n, side, side, 3), dtype=torch.uint8)
    labels = torch.randint(1000, (n,))

    def step(model: nn.Module, optimizer: optim.Optimizer, finish: Callable[[], object]) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(model(images), labels))
        finish()
        optimizer.step()

    model, peer = resnet18(3, 1000), resnet18(3, 1000)
    averager = GradientAverager(model, world, buffers="broadcast")
    closing.append(averager.close)
    ours, theirs = (optim.SGD(m.parameters(), 0.01, momentum=0.9) for m in (model, peer))
    parallel = DistributedDataParallel(peer)
    alone = resnet18(3, 1000)
    own = optim.SGD(alone.parameters(), 0.01, momentum=0.9)
    yield "trainers", lambda: step(model, ours, averager.finish), _nothing
    yield "DDP, gloo", lambda: step(parallel, theirs, _nothing), _nothing
    yield "computation alone", lambda: step(alone, own, _nothing), _nothing


class _Idle(torch.autograd.Function):
    """Leaves the CPU idle in the backward pass, as one that waits for a GPU is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, part: Tensor) -> Tensor:
        """Use the parameter."""
        ctx.save_for_backward(part)
        return x + 0

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Wait, then give a gradient."""
        time.sleep(_IDLE_S)
        return grads[0], torch.ones_like(ctx.saved_tensors[0])


class _IdleNet(_Flat):
    def forward(self, x: Tensor) -> Tensor:
        """Go through all parts."""
        for part in self.parts:
            x = _Idle.apply(x, part)  # type: ignore[no-untyped-call]
        return x


def _hidden(world: World, is_quick: bool, closing: Closing) -> Iterator[Way]:
    n_bytes = _MIB if is_quick else 25 * _MIB
    x = torch.ones(1, requires_grad=True)

    def step(model: nn.Module, finish: Callable[[], object]) -> None:
        for parameter in model.parameters():
            parameter.grad = None
        torch.autograd.backward(model(x))
        finish()

    alone = _IdleNet(n_bytes)
    yield "computation alone", lambda: step(alone, _nothing), _nothing
    for overlap in ("thread", "after"):
        model = _IdleNet(n_bytes)
        averager = GradientAverager(model, world, overlap=overlap)
        closing.append(averager.close)
        finish = averager.finish
        name = "trainers" if overlap == "thread" else "trainers, after the pass"
        yield name, lambda m=model, f=finish: step(m, f), _nothing  # type: ignore[misc]
    peer = DistributedDataParallel(_IdleNet(n_bytes))
    yield "DDP, gloo", lambda: step(peer, _nothing), _nothing


CASES: dict[str, Callable[[World, bool, Closing], Iterator[Way]]] = {
    "averaging 25 MiB of float32": _averaging(25),
    "averaging 100 MiB of float32": _averaging(100),
    "averaging 6,553,600 elements": _half,
    "a step of ResNet-18, 4 images of 32 x 32 a rank": _steps,
    "averaging 25 MiB behind 37 ms of idle CPU": _hidden,
    "a checkpoint of ResNet-18, 16 images of 64 x 64 a rank": checkpoint_steps,
}
ROUNDS = dict(zip(CASES, (25, 15, 25, 15, 15, 15), strict=True))

if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    main()
