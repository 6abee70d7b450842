"""Whether an arena has room for what an order keeps in use."""

import logging

from datafeed.errors import ConfigError
from datafeed.loading.order import Order

__all__ = ["check_room"]

_log = logging.getLogger("datafeed")


def check_room(
    order: Order, world_size: int, samples_per_chunk: int, n_chunks: int, n_slots: int,
    slot_bytes: int,
) -> None:  # fmt: skip
    """Refuse an arena that would throw chunks out between any two batches; warn of a tight one.

    Args:
        order, world_size: What is asked for; only the windowed order keeps chunks in use.
        samples_per_chunk, n_chunks: Of the feed.
        n_slots, slot_bytes: Of the arena.

    Raises:
        ConfigError: a batch alone needs more chunks than there are slots.
    """
    per_stream = max(1.0, order.global_batch / order.streams)
    if order.shuffle is not True or per_stream >= samples_per_chunk:
        return  # every chunk is used up within a batch or two
    own_streams = -(-order.streams // world_size)
    # Of a window of W chunks, n samples at random touch W (1 - (1 - 1/W)^n) on average.
    touched = order.window * (1 - (1 - 1 / order.window) ** per_stream)
    share = -(-order.global_batch // world_size)
    needed = min(n_chunks, share, round(own_streams * touched))
    # The window in use, and the share of streams that change windows at the same time.
    at_ease = min(n_chunks, own_streams * (order.window + 1))
    cure = (
        f"give memory_bytes={at_ease * slot_bytes} or more, or fewer streams= (it changes the "
        "order), or stage the feed with smaller chunks"
    )
    have = f"the arena has room for {n_slots} chunks of {slot_bytes} bytes"
    if n_slots < needed:
        raise ConfigError(f"memory_bytes: {have}, but one batch needs about {needed}; {cure}")
    if n_slots < at_ease:
        _log.warning(
            "%s, but %d streams keep up to %d in use: chunks will be fetched again; %s",
            have, own_streams, at_ease, cure,
        )  # fmt: skip
