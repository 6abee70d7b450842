"""What a profiled step found: the times and bytes of each segment."""

from dataclasses import dataclass

__all__ = ["Profile", "SegmentProfile", "Ticks"]


@dataclass(frozen=True)
class Ticks:
    """The moments of a step, counted: forward passes, then backward pass and update of each.

    Attributes:
        n_segments: How many; their forward passes are ticks 0 to n - 1.
    """

    n_segments: int

    def forward(self, i: int) -> int:
        """Return the tick of a segment's forward pass."""
        return i

    def backward(self, i: int) -> int:
        """Return the tick of a segment's backward pass."""
        return self.n_segments + 2 * (self.n_segments - 1 - i)

    def update(self, i: int) -> int:
        """Return the tick in which the optimizer updates a segment."""
        return self.backward(i) + 1

    @property
    def end(self) -> int:
        """The last tick: what belongs to no segment is updated."""
        return 3 * self.n_segments

    def name(self, tick: int, names: tuple[str, ...]) -> str:
        """Say what happens in a tick."""
        if tick == self.end:
            return "the update of parameters outside of all segments"
        if tick < self.n_segments:
            return f"the forward pass of {names[tick]!r}"
        i, is_update = divmod(tick - self.n_segments, 2)
        part = "update" if is_update else "backward pass"
        return f"the {part} of {names[self.n_segments - 1 - i]!r}"


@dataclass(frozen=True, kw_only=True)
class SegmentProfile:
    """Bytes of one segment that can be moved."""

    name: str
    weight_bytes: int = 0
    trained_bytes: int = 0
    """Of the weights, those that an update changes."""
    state_bytes: int = 0
    """Of the optimizer."""
    activation_bytes: int = 0
    """Kept from the forward to the backward pass."""
    input_bytes: int = 0
    """Held instead of the activations for a repeated forward pass."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What one step with everything offloaded, and nothing fetched early, found.

    Attributes:
        segments: In the order of the forward pass.
        seconds: Of each tick's computation.
        start_bytes: On the device when each tick begins, without what can be moved.
        peak_bytes: Most bytes on the device in each tick, without what can be moved.
        bytes_per_s: Of copies between host and device.
        hidden: Part of a copy's time that a computation beside it does not feel: 1 where copies
            have an engine of their own, 1 - 1 / cores where they take a core.
    """

    segments: tuple[SegmentProfile, ...]
    seconds: tuple[float, ...]
    start_bytes: tuple[int, ...]
    peak_bytes: tuple[int, ...]
    bytes_per_s: float
    hidden: float = 1.0

    @property
    def ticks(self) -> Ticks:
        """The step's moments."""
        return Ticks(len(self.segments))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the segments."""
        return tuple(segment.name for segment in self.segments)
