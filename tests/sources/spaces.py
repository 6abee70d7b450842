"""What the tests of sources share besides fixtures."""

from dataclasses import dataclass

import numpy as np
import pytest

from datafeed.sources import Source, join

HANG_GUARD_S = 30.0
"""Nothing is timed by it: a test that would hang fails instead."""

CLIENTS = ("native", "pydoop", "webhdfs")
_ON_HDFS = pytest.mark.cluster
WRITABLE = ["local", *(pytest.param(client, marks=_ON_HDFS) for client in CLIENTS)]
READABLE = [
    *WRITABLE,
    "isolated local",
    *(pytest.param(f"isolated {client}", marks=_ON_HDFS) for client in CLIENTS),
]


@dataclass
class Space:
    """A source, and a folder that exists on its file system."""

    source: Source
    writer: Source
    """Writes there, where the source only reads."""
    folder: str

    def url(self, name: str) -> str:
        """The URL of a file in the folder."""
        return join(self.folder, name)

    def write(self, name: str, data: bytes) -> str:
        """Make a file; give its URL."""
        self.writer.write(self.url(name), data)
        return self.url(name)


def numbered_bytes(n_bytes: int) -> bytes:
    """Bytes in which every aligned group of four holds its own number."""
    return np.arange(-(-n_bytes // 4), dtype=">u4").tobytes()[:n_bytes]
