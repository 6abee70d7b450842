"""Trains nets whose weights, activations and optimizer states are larger than the device's memory.

::

    trained = trainers.out_of_core(model, optimizer, budget_bytes=8 << 30)
    for x, y in loader:
        loss = F.cross_entropy(trained(x), y)
        loss.backward()
        trained.step()
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from trainers.out_of_core.memory.copies import copies_of
from trainers.out_of_core.memory.device import memory_of
from trainers.out_of_core.memory.host import HostPool, MappedFile, PlainMemory
from trainers.out_of_core.planning.plan import Plan, Policy
from trainers.out_of_core.planning.profile import Profile
from trainers.out_of_core.segments import find_segments
from trainers.out_of_core.trained import OutOfCore

__all__ = ["OutOfCore", "Plan", "Profile", "out_of_core"]


def out_of_core(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    budget_bytes: int,
    spill: str | Path | None = None,
    segments: Sequence[str] | None = None,
    device: torch.device | str | None = None,
    on_gradients: Callable[[list[nn.Parameter]], object] | None = None,
    policy: Policy = "planned",
) -> OutOfCore:
    """Train a model in less memory of the device than it needs, with the same results.

    The first two steps offload everything; the second is measured. Then a plan says what stays,
    what is offloaded and fetched in time, and what is computed again. Each segment is updated
    during the backward pass, as soon as its gradients are complete.

    Args:
        model: Its segments take their weights to the device when they need them; in between the
            parameters have no memory, and must not be touched (``state_dict`` copies them,
            ``close`` brings them back).
        optimizer: Of its parameters; one that treats each parameter for itself, as torch's SGD
            and Adam do.
        budget_bytes: Most bytes of the device: weights, gradients, states, activations and
            whatever operations make; on a CPU counted without what lies outside of the segments,
            as the loss.
        spill: Folder of a disk for what is offloaded, in a file without a name; None: the host's
            memory, pinned for a GPU.
        segments: Names of modules in the order in which the forward pass calls them, each once; a
            ModuleList stands for its modules. Other parameters stay on the device. None: the
            children of an ``nn.Sequential``.
        device: Of the computation; None: where the parameters are. A model that is too large for
            its device is made on the CPU first.
        on_gradients: Called with parameters whose gradients are complete, before their update: to
            average them over ranks, or to clip them by value.
        policy: ``planned``; to compare with: ``everything`` is offloaded, or ``on demand``,
            without prefetch.

    Raises:
        TrainerError: the segments cannot be found, the model is trained out of core already, or
            the host or the folder has no room; then the weights are whole.
    """
    found, is_chain = find_segments(model, segments)
    first = next(iter(model.parameters()))
    where = torch.empty(0, device=first.device if device is None else device).device
    is_pinned = where.type == "cuda"
    host = PlainMemory(is_pinned) if spill is None else MappedFile(Path(spill))
    copies, pool = copies_of(where), HostPool(host)
    try:
        return OutOfCore(
            model, optimizer, found, is_chain, where, memory_of(where), copies, pool,
            budget_bytes, policy, on_gradients,
        )  # fmt: skip
    except BaseException:
        copies.close()
        pool.close()
        raise
