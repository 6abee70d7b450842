"""What can be done to free memory of the device: each choice frees it for some ticks, at a cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from trainers.out_of_core.planning.profile import Profile

__all__ = ["Action", "Bytes", "Kind", "actions_of", "kept_bytes"]

Kind = Literal["weights", "state", "activations"]
Bytes = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Action:
    """To offload something, or to compute activations again, between two uses.

    Attributes:
        kind: What.
        segment: Whose.
        first: Tick in which it is not needed any more.
        last: Tick before the one that needs it again; of the next step, if it is below ``first``.
        n_bytes: Freed from first to last.
        out_bytes: To be copied to the host.
        in_bytes: To be copied back.
        recompute_s: Seconds of the repeated forward pass; 0: offloaded.
        rise_bytes: By which the repeated pass raises the peak of the backward pass.
    """

    kind: Kind
    segment: int
    first: int
    last: int
    n_bytes: int
    out_bytes: int = 0
    in_bytes: int = 0
    recompute_s: float = 0.0
    rise_bytes: int = 0

    @property
    def is_recomputed(self) -> bool:
        """Whether nothing is copied, but computed again."""
        return self.in_bytes == 0

    def frees(self, n_ticks: int) -> Bytes:
        """Return the bytes freed in each tick."""
        freed = np.zeros(n_ticks, np.int64)
        if self.first <= self.last:
            freed[self.first : self.last + 1] = self.n_bytes
        else:
            freed[self.first :] = freed[: self.last + 1] = self.n_bytes
        if self.rise_bytes:
            freed[self.last + 1] = -self.rise_bytes
        return freed


def kept_bytes(profile: Profile) -> Bytes:
    """Return the bytes needed in each tick if nothing is freed."""
    ticks = profile.ticks
    need = np.array(profile.peak_bytes, np.int64)
    for i, segment in enumerate(profile.segments):
        need += segment.weight_bytes + segment.state_bytes
        need[ticks.forward(i) + 1 : ticks.backward(i) + 1] += segment.activation_bytes
    return need


def actions_of(profile: Profile) -> list[Action]:
    """List all that can be done, but for what would free nothing."""
    return [
        action
        for i in range(len(profile.segments))
        for action in _of_segment(profile, i)
        if action.n_bytes > 0
    ]


def _of_segment(profile: Profile, i: int) -> Iterator[Action]:
    ticks, segment = profile.ticks, profile.segments[i]
    forward, backward, update = ticks.forward(i), ticks.backward(i), ticks.update(i)
    n_bytes = segment.weight_bytes
    weights = Action(
        kind="weights", segment=i, first=forward + 1, last=backward - 1, n_bytes=n_bytes,
        in_bytes=n_bytes,
    )  # fmt: skip
    if forward + 1 < backward:
        yield weights
        yield from _of_activations(profile, i)
    yield Action(
        kind="weights", segment=i, first=update + 1, last=(forward - 1) % (ticks.end + 1),
        n_bytes=n_bytes, out_bytes=segment.trained_bytes, in_bytes=n_bytes,
    )  # fmt: skip
    yield Action(
        kind="state", segment=i, first=update + 1, last=update - 1, n_bytes=segment.state_bytes,
        out_bytes=segment.state_bytes, in_bytes=segment.state_bytes,
    )  # fmt: skip


def _of_activations(profile: Profile, i: int) -> Iterator[Action]:
    ticks, segment = profile.ticks, profile.segments[i]
    forward, backward = ticks.forward(i), ticks.backward(i)
    n_bytes = segment.activation_bytes
    yield Action(
        kind="activations", segment=i, first=forward + 1, last=backward - 1, n_bytes=n_bytes,
        out_bytes=n_bytes, in_bytes=n_bytes,
    )  # fmt: skip
    again = profile.peak_bytes[forward] - profile.start_bytes[forward]
    at_start = profile.start_bytes[backward] + segment.input_bytes + again
    yield Action(
        kind="activations", segment=i, first=forward + 1, last=backward - 1,
        n_bytes=n_bytes - segment.input_bytes, recompute_s=profile.seconds[forward],
        rise_bytes=max(0, at_start - profile.peak_bytes[backward] - n_bytes),
    )  # fmt: skip
