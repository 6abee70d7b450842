"""The place of a loader in its run, as a small JSON-able dict."""

import logging
from collections.abc import Mapping
from typing import Any

from datafeed.arguments import checked_integer
from datafeed.errors import ConfigError
from datafeed.loading.order.base_order import BaseOrder

__all__ = ["ResumePoints", "make_state", "read_state"]


def make_state(feed_id: str, order: BaseOrder, epoch: int, step: int) -> dict[str, Any]:
    """Describe a place: the next batch is ``step`` of ``epoch``, in this order."""
    return {"epoch": epoch, "step": step, **_identity(feed_id, order)}


def _identity(feed_id: str, order: BaseOrder) -> dict[str, Any]:
    """All that the order is a function of, with the names of the loader's arguments."""
    return {
        "feed_id": feed_id,
        "seed": order.seed,
        "global_batch": order.global_batch,
        "streams": order.streams,
        "window": order.window,
        "drop_last": order.drop_last,
        "shuffle": order.shuffle,
    }


def read_state(state: Mapping[str, Any], feed_id: str, order: BaseOrder) -> tuple[int, int]:
    """Return the epoch and step of a state.

    Raises:
        ConfigError: it belongs to another order, or is no loader's state.
    """
    identity = _identity(feed_id, order)
    if not isinstance(state, Mapping):
        raise ConfigError(f"state {state!r}: give what state_dict() of a loader gave")
    missing = sorted({"epoch", "step", *identity} - state.keys())
    if missing:
        raise ConfigError(f"state lacks {missing}; give what state_dict() of a loader gave")
    for name, own in identity.items():
        if state[name] != own:
            raise ConfigError(
                f"state has {name}={state[name]!r}, this loader {own!r}; make the loader as the "
                "one that gave the state (global_batch_size= fixes the batch for any world size)"
            )
    epoch, step = (checked_integer(f"state's {name}", state[name]) for name in ("epoch", "step"))
    if epoch < 0 or not 0 <= step <= order.steps:
        raise ConfigError(f"state has epoch {epoch}, step {step} of {order.steps}: no such place")
    return epoch, step


_OFTEN = 3
"""A look at the first batch, and one more, are nothing to talk about."""
_log = logging.getLogger("datafeed")


class ResumePoints:
    """Counts how often a loader began at one place without having been sent there."""

    def __init__(self) -> None:
        self._position = (-1, -1, -1)
        self._n = 0

    def note(self, epoch: int, step: int, n_moves: int) -> None:
        """Take note of one, and warn once where there are many.

        torch's loader shuffles anew each time it is iterated; training loops that leave each epoch
        early count on it, and would see the same batches for ever.

        Args:
            epoch, step: Where it began.
            n_moves: How often the loader was sent to a place so far.
        """
        position = epoch, step, n_moves
        self._n = self._n + 1 if position == self._position else 1
        self._position = position
        if self._n == _OFTEN:
            _log.warning(
                "epoch %d begins at step %d for the %drd time, with the same batches, as it was "
                "left early; call set_epoch() for the next one, or load_state_dict() to go on",
                *(epoch, step, self._n),
            )
