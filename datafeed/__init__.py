"""Stage training data from HDFS into HDF5 chunks and memcached, and feed MPI trainers from them.

Names are loaded when first used, so that staging needs no torch and training no h5py.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from datafeed import errors
from datafeed._version import __version__ as __version__

if TYPE_CHECKING:
    from datafeed.cache.memcached.client import CacheClient
    from datafeed.cache.memcached.net.access import CacheAccess
    from datafeed.dataset.blending.blend import blend
    from datafeed.dataset.feed import Feed, open
    from datafeed.loading.loader import DataLoader
    from datafeed.loading.order.order import Order
    from datafeed.staging.stage import stage

__all__ = [
    "CacheAccess",
    "CacheClient",
    "DataLoader",
    "Feed",
    "Order",
    "blend",
    "errors",
    "open",
    "stage",
]

_HOMES = {
    "CacheAccess": "datafeed.cache.memcached.net.access",
    "CacheClient": "datafeed.cache.memcached.client",
    "DataLoader": "datafeed.loading.loader",
    "Feed": "datafeed.dataset.feed",
    "Order": "datafeed.loading.order.order",
    "blend": "datafeed.dataset.blending.blend",
    "open": "datafeed.dataset.feed",
    "stage": "datafeed.staging.stage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'datafeed' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
