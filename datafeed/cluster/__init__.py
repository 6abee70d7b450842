"""A loopback cluster of HDFS, YARN and memcached, and the Hadoop that is installed here."""

from datafeed.cluster.loopback import LoopbackCluster
from datafeed.cluster.memcached import MemcachedServer

__all__ = ["LoopbackCluster", "MemcachedServer"]
