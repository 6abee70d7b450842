"""The learning rate, a pure function of the step: nothing to store in a checkpoint."""

import math

__all__ = ["learning_rate", "scaled"]


def learning_rate(step: int, n_steps: int, peak: float, warm_up: float = 0.2) -> float:
    """Rise linearly to the peak, then fall as a cosine (Loshchilov & Hutter, ICLR 2017).

    Args:
        step: Steps trained before, from 0.
        n_steps: Steps of the whole run.
        peak: Highest rate.
        warm_up: Part of the run in which the rate rises, in [0, 1).

    Returns:
        A rate above 0.
    """
    progress = (step + 1) / (n_steps + 1)
    if progress < warm_up:
        return peak * progress / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def scaled(rate: float, global_batch: int, reference_batch: int | None) -> float:
    """Scale a rate found for another batch linearly (Goyal et al., 2017); None: as it is."""
    return rate if reference_batch is None else rate * global_batch / reference_batch
