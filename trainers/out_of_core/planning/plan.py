"""Chooses what to keep, offload or compute again, from a measured profile.

Tensors are offloaded and prefetched as in vDNN (Rhu et al., MICRO 2016) and OC-DNN (Awan et al.,
HiPC 2018), optimizer states as well. Whether to copy or to compute again is decided by cost, as in
SuperNeurons (Wang et al., PPoPP 2018) and Capuchin (Peng et al., ASPLOS 2020); Checkmate (Jain et
al., MLSys 2020) solves that exactly. Here: greedily, with several prices of a copy, and the plan
that a model of the step's time finds fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from datafeed.errors import TrainerError
from trainers.out_of_core.planning.actions import Bytes, Choice, choices_of, kept_bytes
from trainers.out_of_core.planning.profile import Profile, Ticks
from trainers.out_of_core.planning.timeline import (
    Transfer,
    occupied_bytes,
    predict_s,
    stretch,
    transfers_of,
)

__all__ = ["Plan", "Policy", "least_bytes", "make_plan", "on_demand"]

Costs = npt.NDArray[np.float64]
Policy = Literal["planned", "everything", "on demand"]

_PRICES = (0.1, 0.5, 1.0)
"""Of a copy, as parts of its time: a copy beside a computation costs less than its time."""

_N_EXCHANGES = 4

_AS_FAST = 1.02
"""Times this close to each other are the same to a model of a step's time."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a step frees, and when it copies.

    Attributes:
        choices: All that is freed between two uses.
        transfers: In the order of the copies.
        peak_bytes: Most bytes on the device.
        step_s: Predicted seconds of a step.
    """

    choices: tuple[Choice, ...]
    transfers: tuple[Transfer, ...]
    peak_bytes: int = 0
    step_s: float = 0.0

    @property
    def recomputed(self) -> frozenset[int]:
        """Segments whose forward pass is repeated."""
        return frozenset(choice.segment for choice in self.choices if choice.is_recomputed)

    @property
    def copied_bytes(self) -> int:
        """Bytes copied in a step, both ways."""
        return sum(transfer.copied_bytes for transfer in self.transfers)

    def __str__(self) -> str:
        """Say in a line what is done."""
        kinds = ("weights", "state", "activations")
        stored = [t for t in self.transfers if not t.is_fetch]
        counts = ", ".join(
            f"{kind} of {len({t.segment for t in stored if t.kind == kind})}" for kind in kinds
        )
        return (
            f"offloads {counts} segments, computes {len(self.recomputed)} again, copies "
            f"{self.copied_bytes / 2**20:.1f} MiB a step, needs {self.peak_bytes:,} bytes"
        )


def on_demand(ticks: Ticks) -> Plan:
    """Make the plan of the profiled step, which knows no bytes: everything, when it is needed."""
    choices = []
    for i in range(ticks.n_segments):
        forward, backward, update = ticks.forward(i), ticks.backward(i), ticks.update(i)
        common = {"segment": i, "n_bytes": 0, "in_bytes": 1}
        if forward + 1 < backward:
            between = {"first": forward + 1, "last": backward - 1}
            choices.append(Choice(kind="weights", **between, **common))
            choices.append(Choice(kind="activations", **between, **common))
        last = (forward - 1) % (ticks.end + 1)
        choices.append(Choice(kind="weights", first=update + 1, last=last, **common))
        choices.append(Choice(kind="state", first=update + 1, last=update - 1, **common))
    return Plan(choices=tuple(choices), transfers=tuple(transfers_of(choices, ticks.end)))


def least_bytes(profile: Profile) -> tuple[int, str]:
    """Return the least budget that works, and what needs it: everything offloaded on demand."""
    choices = _offloaded(choices_of(profile))
    need = occupied_bytes(kept_bytes(profile), choices, ())
    tick = int(need.argmax())
    return int(need[tick]), profile.ticks.name(tick, profile.names)


def make_plan(profile: Profile, budget_bytes: int, policy: Policy = "planned") -> Plan:
    """Choose for a budget.

    Args:
        profile: Of a step.
        budget_bytes: Most bytes of the device.
        policy: ``planned``; or to compare with: ``everything`` is offloaded, with prefetch; or
            ``on demand``, without.

    Raises:
        TrainerError: the budget is below the least that works.
    """
    least, where = least_bytes(profile)
    if least > budget_bytes:
        raise TrainerError(
            f"out of core: budget_bytes={budget_bytes:,} is too small; the least that works is "
            f"{least:,}, for {where}; give that much, cut the model into smaller segments, or "
            "take smaller batches"
        )
    every = choices_of(profile)
    everything = _offloaded(every)
    if policy == "on demand":
        return _finish(profile, everything, 0)
    plans = [_finish(profile, everything, budget_bytes)]
    if policy == "planned":
        room = max((choice.n_bytes for choice in every), default=0)
        for price, spare in product(_PRICES, (0, room, 2 * room)):
            chosen = _choose(profile, every, budget_bytes - spare, price)
            if chosen is not None:
                plans.append(_finish(profile, chosen, budget_bytes))
    return _least_moving(plans)


def _least_moving(plans: Sequence[Plan]) -> Plan:
    """Take the fastest; among those as fast, as far as a model can tell, the one that does least.

    The first offloads everything: none is taken that is slower.
    """
    most_s = min(plans[0].step_s, _AS_FAST * min(plan.step_s for plan in plans))
    return min(
        (plan for plan in plans if plan.step_s <= most_s),
        key=lambda plan: (plan.copied_bytes, len(plan.recomputed)),
    )


def _offloaded(choices: Sequence[Choice]) -> list[Choice]:
    return [choice for choice in choices if not choice.is_recomputed]


def _finish(profile: Profile, choices: Sequence[Choice], budget_bytes: int) -> Plan:
    transfers = transfers_of(choices, profile.ticks.end)
    need = occupied_bytes(kept_bytes(profile), choices, transfers)
    transfers = stretch(profile, transfers, need, budget_bytes)
    return Plan(
        choices=tuple(choices),
        transfers=tuple(transfers),
        peak_bytes=int(need.max()),
        step_s=predict_s(profile, choices, transfers),
    )


def _choose(
    profile: Profile, every: Sequence[Choice], budget_bytes: int, price: float
) -> list[Choice] | None:
    """Take what frees most of the excess for its cost, until there is none; None: cannot be."""
    need = kept_bytes(profile)
    freed = np.array([choice.frees(len(need)) for choice in every]).reshape(-1, len(need))
    costs = np.array([_cost_s(profile, choice, price) for choice in every])
    is_open = np.ones(len(every), bool)
    chosen: list[int] = []
    while (excess := np.maximum(need - budget_bytes, 0)).any():
        gains = np.minimum(freed, excess).clip(min=0).sum(axis=1) * is_open
        if not gains.any():
            return None
        best = int((gains / costs).argmax())
        chosen.append(best)
        need -= freed[best]
        for n, other in enumerate(every):
            is_open[n] &= not _excludes(every[best], other)
    chosen = _pruned(chosen, freed, costs, need, budget_bytes)
    for _ in range(_N_EXCHANGES):
        chosen = _exchanged(every, chosen, freed, costs, budget_bytes, kept_bytes(profile))
    return [every[n] for n in chosen]


def _cost_s(profile: Profile, choice: Choice, price: float) -> float:
    copied = choice.out_bytes + choice.in_bytes
    return max(1e-12, choice.recompute_s + price * copied / profile.bytes_per_s)


def _excludes(chosen: Choice, other: Choice) -> bool:
    """Tell whether the other is the same, or another way to free the same."""
    key = (chosen.kind, chosen.segment, chosen.first)
    return key == (other.kind, other.segment, other.first)


def _exchanged(
    every: Sequence[Choice], chosen: list[int], freed: Bytes, costs: Costs, budget_bytes: int,
    kept: Bytes,
) -> list[int]:  # fmt: skip
    """Take one choice more if that makes others needless that cost more than it."""
    best, least = chosen, costs[chosen].sum()
    taken = [every[n] for n in chosen]
    for n, choice in enumerate(every):
        if any(_excludes(other, choice) for other in taken):
            continue
        tried = [*chosen, n]
        need = kept - freed[tried].sum(axis=0)
        if (need > budget_bytes).any():  # it raises a peak
            continue
        tried = [n, *_pruned(chosen, freed, costs, need, budget_bytes)]
        if costs[tried].sum() < least:
            best, least = tried, costs[tried].sum()
    return best


def _pruned(
    chosen: Sequence[int], freed: Bytes, costs: Costs, need: Bytes, budget_bytes: int
) -> list[int]:  # fmt: skip
    """Drop what turned out not to be needed, the dearest first."""
    left = list(chosen)
    for n in sorted(chosen, key=lambda n: -costs[n]):
        if (need + freed[n] <= budget_bytes).all():
            need = need + freed[n]
            left.remove(n)
    return left
