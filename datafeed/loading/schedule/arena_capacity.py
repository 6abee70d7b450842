"""Whether an arena has room for what an order keeps in use."""

import logging

from datafeed.errors import ConfigError
from datafeed.loading.order.base_order import BaseOrder

__all__ = ["check_capacity"]

_log = logging.getLogger("datafeed")


def check_capacity(order: BaseOrder, world_size: int, n_slots: int, slot_bytes: int) -> None:
    """Refuse an arena that would throw chunks out between any two batches; warn of a tight one.

    Args:
        order, world_size: What is asked for; only the windowed order keeps chunks in use.
        n_slots, slot_bytes: Of the arena.

    Raises:
        ConfigError: a batch alone needs more chunks than there are slots.
    """
    needed, at_ease = order.chunks_in_use(world_size)
    cure = (
        f"give memory_bytes={at_ease * slot_bytes} or more, or fewer streams= (it changes "
        "the order), or stage the feed with smaller chunks"
    )
    have = f"the arena has room for {n_slots} chunks of {slot_bytes} bytes"
    if n_slots < needed:
        raise ConfigError(f"memory_bytes: {have}, but one batch needs about {needed}; {cure}")
    if n_slots < at_ease:
        _log.warning(
            "%s, but up to %d are in use: chunks will be fetched again; %s", have, at_ease, cure
        )
