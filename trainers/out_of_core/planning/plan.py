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
from trainers.out_of_core.planning.actions import Action, Bytes, actions_of, kept_bytes
from trainers.out_of_core.planning.profile import Profile, Ticks
from trainers.out_of_core.planning.timeline import (
    Transfer,
    occupied_bytes,
    predict_s,
    segment_span,
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

    chosen_actions: tuple[Action, ...]
    transfers: tuple[Transfer, ...]
    peak_bytes: int = 0
    step_s: float = 0.0

    @property
    def recomputed(self) -> frozenset[int]:
        """Segments whose forward pass is repeated."""
        return frozenset(action.segment for action in self.chosen_actions if action.is_recomputed)

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
    chosen_actions = []
    for i in range(ticks.n_segments):
        forward, backward, update = ticks.forward(i), ticks.backward(i), ticks.update(i)
        common = {"segment": i, "n_bytes": 0, "in_bytes": 1}
        if forward + 1 < backward:
            between = {"first": forward + 1, "last": backward - 1}
            chosen_actions.append(Action(kind="weights", **between, **common))
            chosen_actions.append(Action(kind="activations", **between, **common))
        last = (forward - 1) % (ticks.end + 1)
        chosen_actions.append(Action(kind="weights", first=update + 1, last=last, **common))
        chosen_actions.append(Action(kind="state", first=update + 1, last=update - 1, **common))
    return Plan(
        chosen_actions=tuple(chosen_actions),
        transfers=tuple(transfers_of(chosen_actions, ticks.end)),
    )


def least_bytes(profile: Profile) -> tuple[int, str]:
    """Return the least budget that works, and what needs it: everything offloaded on demand."""
    chosen_actions = _offloaded(actions_of(profile))
    need = occupied_bytes(kept_bytes(profile), chosen_actions, ())
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
    every = actions_of(profile)
    everything = _offloaded(every)
    if policy == "on demand":
        return _finish(profile, everything, 0)
    plans = [_finish(profile, everything, budget_bytes)]
    if policy == "planned":
        free_bytes = max((action.n_bytes for action in every), default=0)
        for price, spare in product(_PRICES, (0, free_bytes, 2 * free_bytes)):
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


def _offloaded(chosen_actions: Sequence[Action]) -> list[Action]:
    return [action for action in chosen_actions if not action.is_recomputed]


def _finish(profile: Profile, chosen_actions: Sequence[Action], budget_bytes: int) -> Plan:
    transfers = transfers_of(chosen_actions, profile.ticks.end)
    need = occupied_bytes(kept_bytes(profile), chosen_actions, transfers)
    transfers = segment_span(profile, transfers, need, budget_bytes)
    return Plan(
        chosen_actions=tuple(chosen_actions),
        transfers=tuple(transfers),
        peak_bytes=int(need.max()),
        step_s=predict_s(profile, chosen_actions, transfers),
    )


def _choose(
    profile: Profile, every: Sequence[Action], budget_bytes: int, price: float
) -> list[Action] | None:
    """Take what frees most of the excess for its cost, until there is none; None: cannot be."""
    need = kept_bytes(profile)
    freed = np.array([action.frees(len(need)) for action in every]).reshape(-1, len(need))
    costs = np.array([_cost_s(profile, action, price) for action in every])
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


def _cost_s(profile: Profile, action: Action, price: float) -> float:
    copied = action.out_bytes + action.in_bytes
    return max(1e-12, action.recompute_s + price * copied / profile.bytes_per_s)


def _excludes(chosen: Action, other: Action) -> bool:
    """Tell whether the other is the same, or another way to free the same."""
    key = (chosen.kind, chosen.segment, chosen.first)
    return key == (other.kind, other.segment, other.first)


def _exchanged(
    every: Sequence[Action], chosen: list[int], freed: Bytes, costs: Costs, budget_bytes: int,
    kept: Bytes,
) -> list[int]:  # fmt: skip
    """Take one choice more if that makes others needless that cost more than it."""
    best, least = chosen, costs[chosen].sum()
    taken = [every[n] for n in chosen]
    for n, action in enumerate(every):
        if any(_excludes(other, action) for other in taken):
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
