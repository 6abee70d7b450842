"""The place of a loader in its run, as a small JSON-able dict."""

from collections.abc import Mapping
from typing import Any

from datafeed.arguments import checked_integer
from datafeed.errors import ConfigError
from datafeed.loading.order.base_order import Steps

__all__ = ["make_state", "read_state"]


def make_state(feed_id: str, order: Steps, epoch: int, step: int) -> dict[str, Any]:
    """Describe a place: the next batch is ``step`` of ``epoch``, in this order."""
    return {"epoch": epoch, "step": step, **_identity(feed_id, order)}


def _identity(feed_id: str, order: Steps) -> dict[str, Any]:
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


def read_state(state: Mapping[str, Any], feed_id: str, order: Steps) -> tuple[int, int]:
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
