"""What a step with given choices needs: bytes in each tick, and how long it takes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainers.out_of_core.planning.actions import Action, Bytes, Kind
from trainers.out_of_core.planning.profile import Profile

__all__ = ["Transfer", "occupied_bytes", "predict_s", "segment_span", "transfers_of"]

_MARGIN = 2.0
"""Copies get this much time beside computations, if there is room: others stand before them."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A copy between device and host.

    Attributes:
        kind, segment: What is copied.
        is_fetch: To the device; else to the host, where the device's memory is freed after it.
        issue: Tick before which it begins.
        due: Tick before which it must be done.
        resident_bytes: Of the device from issue to due.
        copied_bytes: To be copied; less if the host has them already.
        limit: The earliest issue of a fetch; the latest due of a store.
        wraps: The device does without it from one step to the next.
    """

    kind: Kind
    segment: int
    is_fetch: bool
    issue: int
    due: int
    resident_bytes: int
    copied_bytes: int
    limit: int
    wraps: bool


def transfers_of(chosen_actions: Iterable[Action], end: int) -> list[Transfer]:
    """Return the copies of choices, each as late and as short as can be."""
    found = []
    for action in chosen_actions:
        if action.is_recomputed:
            continue
        wraps = action.last < action.first
        due = (action.last + 1) % (end + 1)
        store = Transfer(
            kind=action.kind, segment=action.segment, is_fetch=False, issue=action.first,
            due=action.first, resident_bytes=action.n_bytes, copied_bytes=action.out_bytes,
            limit=end if wraps else action.last, wraps=wraps,
        )  # fmt: skip
        found.append(store)
        start = 0 if wraps else action.first
        fetch = replace(
            store, is_fetch=True, issue=due, due=due, copied_bytes=action.in_bytes, limit=start
        )
        found.append(fetch)
    return sorted(found, key=_position)


def _position(transfer: Transfer) -> tuple[int, bool, int]:
    """Order copies on their lane: memory is freed before new memory is taken."""
    return transfer.issue, transfer.is_fetch, transfer.due


def occupied_bytes(
    kept: Bytes, chosen_actions: Iterable[Action], transfers: Iterable[Transfer]
) -> Bytes:
    """Return the bytes needed in each tick."""
    need = kept.copy()
    for action in chosen_actions:
        need -= action.frees(len(kept))
    for transfer in transfers:
        need[transfer.issue : transfer.due] += transfer.resident_bytes
    return need


def segment_span(
    profile: Profile, transfers: Sequence[Transfer], need: Bytes, budget_bytes: int
) -> list[Transfer]:
    """Begin fetches earlier and end stores later, beside computations, where there is room.

    Args:
        profile: Tells how long the computations take.
        transfers: As late and as short as can be.
        need: Bytes in each tick with these; changed to those with what is returned.
        budget_bytes: There is room up to here.
    """
    done = []
    ends: dict[tuple[Kind, int, bool], int] = {}
    for transfer in sorted(transfers, key=lambda t: (t.is_fetch, t.due)):
        key = (transfer.kind, transfer.segment, transfer.wraps)
        if transfer.is_fetch and not transfer.wraps:
            transfer = replace(transfer, limit=max(transfer.limit, ends[key]))
        done.append(_stretched(profile, transfer, need, budget_bytes))
        if not transfer.is_fetch:
            ends[key] = done[-1].due
    return sorted(done, key=_position)


def _stretched(profile: Profile, transfer: Transfer, need: Bytes, budget_bytes: int) -> Transfer:
    wanted_s = _MARGIN * transfer.copied_bytes / profile.bytes_per_s
    issue, due, beside_s = transfer.issue, transfer.due, 0.0
    while beside_s < wanted_s:
        tick = issue - 1 if transfer.is_fetch else due
        is_out = tick < transfer.limit if transfer.is_fetch else tick >= transfer.limit
        if is_out or need[tick] + transfer.resident_bytes > budget_bytes:
            break
        need[tick] += transfer.resident_bytes
        beside_s += profile.seconds[tick]
        issue, due = (tick, due) if transfer.is_fetch else (issue, due + 1)
    return replace(transfer, issue=issue, due=due)


def predict_s(
    profile: Profile, chosen_actions: Iterable[Action], transfers: Sequence[Transfer]
) -> float:
    """Tell how long a step takes: one lane that computes, and one that copies in turn."""
    compute_s = np.array(profile.seconds)
    for action in chosen_actions:
        if action.is_recomputed:
            compute_s[action.last + 1] += action.recompute_s
    issued: dict[int, list[Transfer]] = {}
    for transfer in transfers:
        issued.setdefault(transfer.issue, []).append(transfer)
    now_s = lane_free_s = 0.0
    due_s = np.zeros(len(compute_s))
    for tick, seconds in enumerate(compute_s):
        for transfer in issued.get(tick, ()):
            lane_free_s = max(lane_free_s, now_s)
            lane_free_s += transfer.copied_bytes / profile.bytes_per_s
            due_s[transfer.due] = max(due_s[transfer.due], lane_free_s)
        now_s = max(now_s, due_s[tick])
        beside_s = min(seconds, max(0.0, lane_free_s - now_s))
        now_s += seconds + (1 - profile.hidden) * beside_s
    return float(max(now_s, lane_free_s))
