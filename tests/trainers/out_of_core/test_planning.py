"""The planner, on profiles of any kind."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datafeed.errors import TrainerError
from trainers.out_of_core.planning.actions import kept_bytes
from trainers.out_of_core.planning.plan import Plan, least_bytes, make_plan
from trainers.out_of_core.planning.profile import Profile, SegmentProfile, Ticks

_bytes = st.integers(0, 1000)
_seconds = st.floats(1e-4, 1.0)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    n = draw(st.integers(1, 6))
    segments = []
    for i in range(n):
        weights, activations = draw(_bytes), draw(_bytes) if i + 1 < n else 0
        segments.append(
            SegmentProfile(
                name=str(i), weight_bytes=weights, trained_bytes=draw(st.integers(0, weights)),
                state_bytes=draw(_bytes), activation_bytes=activations,
                input_bytes=draw(_bytes),
            )
        )  # fmt: skip
    n_ticks = Ticks(n).end + 1
    start = draw(st.lists(_bytes, min_size=n_ticks, max_size=n_ticks))
    rise = draw(st.lists(_bytes, min_size=n_ticks, max_size=n_ticks))
    return Profile(
        segments=tuple(segments),
        seconds=tuple(draw(st.lists(_seconds, min_size=n_ticks, max_size=n_ticks))),
        start_bytes=tuple(start),
        peak_bytes=tuple(a + b for a, b in zip(start, rise, strict=True)),
        bytes_per_s=draw(st.floats(1.0, 1e6)),
        hidden=draw(st.sampled_from([0.0, 0.5, 1.0])),
    )


def peak_by_replay(profile: Profile, plan: Plan) -> int:
    """Walk through two steps and add up what is there, as the stepper would."""
    ticks, n = profile.ticks, len(profile.segments)
    away = {(t.kind, t.segment) for t in plan.transfers if t.is_fetch and (t.wraps or t.due == 0)}
    sizes = {("weights", i): profile.segments[i].weight_bytes for i in range(n)}
    sizes |= {("state", i): profile.segments[i].state_bytes for i in range(n)}
    here, peak = set(sizes) - away, 0
    for tick in [*range(ticks.end + 1)] * 2:
        for t in plan.transfers:
            if t.due == tick and not t.is_fetch:
                here.discard((t.kind, t.segment))
        here |= {(t.kind, t.segment) for t in plan.transfers if t.issue == tick and t.is_fetch}
        peak = max(peak, profile.peak_bytes[tick] + sum(map(sizes.__getitem__, here & set(sizes))))
        for i in range(n):
            if tick == ticks.forward(i):
                assert ("weights", i) in here
            if tick == ticks.update(i):
                assert {("weights", i), ("state", i)} <= here
    return peak


@settings(deadline=None, max_examples=60)
@given(profiles(), st.floats(0.0, 1.2))
def test_a_plan_fits_and_is_no_slower_than_offloading_everything(
    profile: Profile, part: float
) -> None:
    least, kept = least_bytes(profile)[0], int(kept_bytes(profile).max())
    budget = int(least + part * (kept - least))
    plan = make_plan(profile, budget)
    assert plan.peak_bytes <= max(budget, 0)
    assert peak_by_replay(profile, plan) <= budget
    assert plan.step_s <= make_plan(profile, budget, "everything").step_s
    if budget >= kept:
        assert plan.copied_bytes == 0
        assert not plan.recomputed


@settings(deadline=None, max_examples=30)
@given(profiles())
def test_too_small_a_budget_is_refused(profile: Profile) -> None:
    least, _ = least_bytes(profile)
    assert make_plan(profile, least).peak_bytes <= least
    with pytest.raises(TrainerError, match=f"least that works is {least:,}, for the "):
        make_plan(profile, least - 1)


def two_segments(bytes_per_s: float) -> Profile:
    """One that is cheap to compute and holds much, and one that is all weights."""
    segments = [
        SegmentProfile(name="much", activation_bytes=1000, input_bytes=10),
        SegmentProfile(name="weights", weight_bytes=100, trained_bytes=100, state_bytes=200),
    ]
    n_ticks = Ticks(2).end + 1
    return Profile(
        segments=tuple(segments), seconds=(0.1,) * n_ticks, start_bytes=(0,) * n_ticks,
        peak_bytes=(0, 1000, 50, 0, 0, 0, 0), bytes_per_s=bytes_per_s,
    )  # fmt: skip


def test_slow_copies_are_replaced_by_computing_again() -> None:
    plan = make_plan(two_segments(bytes_per_s=1e3), 1350)
    assert plan.recomputed == {0}
    assert plan.copied_bytes == 0


def test_fast_copies_are_made_beside_computations() -> None:
    profile = two_segments(bytes_per_s=1e6)
    plan = make_plan(profile, 1350)
    assert not plan.recomputed
    assert plan.copied_bytes > 0
    assert plan.step_s == pytest.approx(sum(profile.seconds), rel=0.03)
    waiting = make_plan(profile, 1350, "on demand")
    assert waiting.step_s > plan.step_s
