"""Opening a file system, in this process or in a helper that can be killed."""

from datafeed.sources.base import Source
from datafeed.sources.direct import check_client, open_direct
from datafeed.sources.isolated.client import IsolatedSource
from datafeed.sources.urls import scheme

__all__ = ["open_source"]


def open_source(
    url: str, client: str = "auto", *, isolated: bool = False, timeout_s: float = 10.0
) -> Source:
    """Open the file system that a URL is on.

    Nothing is asked of a server yet: the first call of the source is.

    Args:
        url: Any URL of the file system: a path, ``file://...`` or ``hdfs://host[:port]/...``.
        client: For HDFS: ``native``, ``pydoop``, ``webhdfs``, or ``auto``: the first of them that
            is installed.
        isolated: Read HDFS only, by a spawned helper process that is killed when it hangs. Local
            files need none.
        timeout_s: Deadline of each answer, in seconds: to a question, or to 4 MiB read or written.

    Returns:
        A source of this process; close it.

    Raises:
        ConfigError: no such client.
        SourceError: no such kind of URL, or the client is not installed or does not start.
    """
    if isolated and scheme(url) == "hdfs":
        check_client(client)
        return IsolatedSource(url, client, timeout_s)
    return open_direct(url, client, timeout_s)
