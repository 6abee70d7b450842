"""The learning rate over a run."""

import pytest

from trainers.run.lr_schedule import learning_rate, scaled


@pytest.mark.parametrize("n_steps", [1, 2, 10, 1407])
def test_it_rises_to_the_peak_and_falls_towards_zero(n_steps: int) -> None:
    rates = [learning_rate(step, n_steps, 0.5) for step in range(n_steps)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0 < min(rates) <= max(rates) <= 0.5
    assert top <= 0.2 * n_steps + 1


def test_closed_form() -> None:
    assert learning_rate(99, 999, 1.0) == pytest.approx(0.5)  # half way up
    assert learning_rate(199, 999, 1.0) == pytest.approx(1.0)
    assert learning_rate(599, 999, 1.0) == pytest.approx(0.5)  # half way down


def test_linear_scaling() -> None:
    assert scaled(0.1, 1024, 256) == pytest.approx(0.4)
    assert scaled(0.1, 1024, None) == 0.1
