"""Times training at half of the memory it needs; prints what each way took as JSON.

::

    python -m trainers.bench.out_of_core [--quick]
"""

import argparse
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from datafeed.bench.harness.measure import Timing, Variant, interleave
from trainers.models.gpt import GPT
from trainers.out_of_core import OutOfCore, out_of_core
from trainers.out_of_core.memory.device import CountedMemory
from trainers.out_of_core.planning.plan import Policy

_WAYS: dict[str, Policy] = {
    "planned": "planned",
    "everything offloaded": "everything",
    "everything offloaded, on demand": "on demand",
}
_IN_CORE = "in core"


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is trained, and how often."""

    width: int
    depth: int
    n_tokens: int
    n_rounds: int


FULL = Size(width=512, depth=12, n_tokens=96, n_rounds=15)
QUICK = Size(width=64, depth=4, n_tokens=64, n_rounds=2)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(measured(QUICK if parser.parse_args().quick else FULL)), flush=True)


def measured(size: Size) -> dict[str, object]:
    """Train the same blocks in each way; give times, bytes and the planned way's own profile."""
    torch.set_num_threads(1)  # one core computes, another copies, as a GPU's engines do
    torch.manual_seed(0)
    model = nn.Sequential(*GPT(1, 1, size.width, size.depth, heads=8).blocks)
    x = torch.randn(1, size.n_tokens, size.width)
    needed = _needed_bytes(copy.deepcopy(model), x)
    budget = needed // 2
    steps = [Variant(_IN_CORE, _in_core(copy.deepcopy(model), x))]
    trained: dict[str, OutOfCore] = {}
    for name, policy in _WAYS.items():
        part = copy.deepcopy(model)
        trained[name] = out_of_core(part, _optimizer(part), budget_bytes=budget, policy=policy)
        steps.append(Variant(name, partial(_step, trained[name], x)))
    interleave(steps, 3)  # profiled, then planned
    timings = interleave(steps, size.n_rounds)
    found = _found(trained["planned"], timings, needed, budget)
    found["peak_bytes"] = {name: way.peak_bytes for name, way in trained.items()}
    for way in trained.values():
        way.close()
    return found


def _found(
    planned: OutOfCore, timings: dict[str, Timing], needed: int, budget: int
) -> dict[str, object]:
    profile = planned.profile
    assert profile is not None
    moved = sum(s.weight_bytes + s.state_bytes + s.activation_bytes for s in profile.segments)
    return {
        "ways": {
            name: {"seconds": timing.seconds, "cpu_seconds": timing.cpu_seconds}
            for name, timing in timings.items()
        },
        "needed_bytes": needed,
        "budget_bytes": budget,
        "transfer_s": moved / profile.bytes_per_s,
        "compute_s": sum(profile.seconds),
        "plan": str(planned.plan),
    }


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)


def _step(trained: OutOfCore, x: Tensor) -> None:
    torch.autograd.backward(mse_loss(trained(x), x))
    trained.step()


def _in_core(model: nn.Module, x: Tensor) -> Callable[[], None]:
    optimizer = _optimizer(model)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(mse_loss(model(x), x))
        optimizer.step()

    return step


def _needed_bytes(model: nn.Module, x: Tensor) -> int:
    """Count what an ordinary step needs, the second one, which finds the optimizer's states."""
    memory = CountedMemory()
    for tensor in (*model.parameters(), x):
        memory.note(tensor.untyped_storage())
    step = _in_core(model, x)
    for _ in range(2):
        with memory.watch():
            step()
    return memory.peak()


if __name__ == "__main__":
    main()
