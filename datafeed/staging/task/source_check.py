"""Whether a shard is still the one of the plan, when its task reads it."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from datafeed.errors import FeedError, SourceError
from datafeed.sources import Source
from datafeed.staging.plan.plan import mtime_of
from datafeed.staging.plan.shard_table import Shard

__all__ = ["unchanged"]

_CHECKSUM_FROM_BYTES = 1 << 20
_ONCE_STILL = "stage into a new folder once it stays as it is"


@contextmanager
def unchanged(source: Source, shard: Shard) -> Iterator["Future[str | None]"]:
    """Check size and time of a shard now, and its checksum while it is read in this context.

    HDFS takes 30 ms to tell the checksum of 256 MiB, in which half as many MiB are read. Of shards
    below 1 MiB it is asked only where the plan has it: the call would cost as much as all their
    bytes.

    Args:
        source: Of the shard.
        shard: As the plan has it.

    Yields:
        The checksum, or None if the file system keeps none or was not asked; known at the end.

    Raises:
        SourceError: the shard is another one, also where reading it failed for that.
    """
    _require_size_and_time(source, shard)
    if shard.checksum is None and shard.size < _CHECKSUM_FROM_BYTES:
        nothing: Future[str | None] = Future()
        nothing.set_result(None)
        yield nothing
        return
    with ThreadPoolExecutor(1, f"datafeed checksum {shard.url}") as pool:
        pending = pool.submit(_checksum, source, shard)
        try:
            yield pending
        except FeedError:
            pending.result()
            raise
        pending.result()


def _require_size_and_time(source: Source, shard: Shard) -> None:
    now = source.stat(shard.url)
    if (now.size, mtime_of(now)) != (shard.size, shard.mtime_ms):
        raise SourceError(
            f"{shard.url}: changed since the plan was made ({shard.size} bytes then, {now.size} "
            f"now, or another time); {_ONCE_STILL}"
        )


def _checksum(source: Source, shard: Shard) -> str | None:
    checksum = source.checksum(shard.url)
    if shard.checksum is not None and checksum != shard.checksum:
        raise SourceError(
            f"{shard.url}: changed since the plan was made (checksum {shard.checksum} then, "
            f"{checksum} now); {_ONCE_STILL}"
        )
    return checksum
