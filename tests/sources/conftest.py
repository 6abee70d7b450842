"""Every kind of source, each with a folder of its own to read and write in."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from datafeed.sources import join, open_source
from datafeed.sources.isolated.client import IsolatedSource
from tests.sources.spaces import HANG_GUARD_S, READABLE, WRITABLE, Space, numbered_bytes


@pytest.fixture(scope="module", params=READABLE)
def reading(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Space]:
    """Every kind of source."""
    yield from _space(request, tmp_path_factory)


@pytest.fixture(scope="module", params=WRITABLE)
def writing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Space]:
    """Every kind of source that writes."""
    yield from _space(request, tmp_path_factory)


def _space(request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> Iterator[Space]:
    *isolated, kind = str(request.param).split()
    if kind == "local":
        root = str(folders.mktemp("local"))
    else:
        root = join(
            request.getfixturevalue("hdfs_root"), f"{request.fixturename}-{kind}", *isolated
        )
    with closing(open_source(root, "auto" if kind == "local" else kind)) as writer:
        writer.mkdirs(root)
        if isolated:
            with closing(
                IsolatedSource(root, kind.replace("local", "auto"), HANG_GUARD_S)
            ) as source:
                yield Space(source, writer, root)
        else:
            yield Space(writer, writer, root)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A NameNode that takes connections and says nothing: its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"hdfs://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refusing_server() -> str:
    """A NameNode that is not there: its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"hdfs://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def local_file(tmp_path: Path) -> Path:
    """A file of 9 MiB + 5 bytes, more than two reads, whose bytes tell their place."""
    path = tmp_path / "local file"
    path.write_bytes(numbered_bytes(9 * (1 << 20) + 5))
    return path
