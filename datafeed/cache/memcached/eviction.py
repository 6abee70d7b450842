"""Looking, before anything is read or stored, whether servers evict values when they are full."""

import logging
from concurrent.futures import ThreadPoolExecutor

from datafeed.cache.memcached.net.pool import ServerPool
from datafeed.cache.outcome import ServerFault, ServerRefused
from datafeed.errors import CacheError

__all__ = ["refuse_eviction"]

_log = logging.getLogger("datafeed.cache")

_AT_A_TIME = 32  # so that many servers that hang cost a deadline or two, not one each


def refuse_eviction(pool: ServerPool, *, allow: bool, need_all: bool) -> None:
    """See that no server drops values silently when it is full.

    Args:
        pool: The servers.
        allow: Only warn about one that does.
        need_all: Whether a server that does not answer is an error; else it is passed over.

    Raises:
        CacheError: a server may evict, does not let us in, or does not answer.
    """

    def ask(server: int) -> str | ServerFault | None:
        try:
            return pool.stats(server, "settings").get("evictions")
        except ServerFault as fault:
            return fault

    n_threads = min(_AT_A_TIME, len(pool.names))
    with ThreadPoolExecutor(n_threads, thread_name_prefix="datafeed-cache-ask") as threads:
        answers = list(threads.map(ask, range(len(pool.names))))
    for name, answer in zip(pool.names, answers, strict=True):
        if isinstance(answer, ServerFault):
            if need_all or isinstance(answer, ServerRefused):
                raise answer
        elif answer != "off":
            _refuse(name, allow)


def _refuse(name: str, allow: bool) -> None:
    message = (
        f"cache server {name} evicts values when it is full, so parts of the feed would go "
        "missing; start it with 'memcached -M', or give allow_eviction=True (--allow-eviction)"
    )
    if not allow:
        raise CacheError(message)
    _log.warning("%s", message)
