"""One small feed that many tests load, and its order."""

from typing import Any

from datafeed import DataLoader, Feed, Order

PARTS, PER_CHUNK, BATCH, STREAMS = [130, 7, 95, 0, 61], 10, 24, 4
SLOT_BYTES = PER_CHUNK * (16 + 8)


def order_of(**options: Any) -> Order:
    return Order(PARTS, PER_CHUNK, BATCH, **{"streams": STREAMS, **options})


def loader_of(feed: Feed, **options: Any) -> DataLoader:
    defaults = {"global_batch_size": BATCH, "streams": STREAMS, "timeout_s": 10.0}
    return DataLoader(feed, **{**defaults, **options})
