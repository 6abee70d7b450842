"""HDFS's checksum of a file, computed here and by HDFS."""

import secrets
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from datafeed.errors import SourceError
from datafeed.sources import join, open_source
from datafeed.sources.hdfs import checksum as hdfs_checksum
from datafeed.sources.hdfs.clients.namenode import find_namenodes
from datafeed.sources.hdfs.clients.native import NativeDriver
from datafeed.sources.hdfs.clients.webhdfs_http import WebHdfs
from tests.sources.spaces import numbered_bytes

pytestmark = pytest.mark.cluster
_KIB = 1024


@pytest.mark.parametrize("n_bytes", [1, 511, 512, 64 * _KIB, 64 * _KIB + 1, 300 * _KIB + 77])
@pytest.mark.parametrize("piece_bytes", [1000, 1 << 20])
def test_computed_as_hdfs_does_in_several_blocks(
    hdfs_root: str, n_bytes: int, piece_bytes: int
) -> None:
    data, url = numbered_bytes(n_bytes), join(hdfs_root, f"checked-{secrets.token_hex(4)}")
    place = urlsplit(url)
    with closing(WebHdfs(find_namenodes(place.netloc).web, 30)) as web:
        upload = web.upload(place.path, n_bytes, blocksize=str(64 * _KIB))
        upload.write(memoryview(data))
        upload.close()
    with closing(open_source(url)) as source:
        reported = source.checksum(url)
        assert source.read(url) == data
    assert reported is not None
    pieces = [memoryview(data)[i : i + piece_bytes] for i in range(0, n_bytes, piece_bytes)]
    assert hdfs_checksum.of_bytes(pieces, reported) == reported
    assert (
        hdfs_checksum.of_bytes([memoryview(bytes([data[0] ^ 1]) + data[1:])], reported) != reported
    )
    assert hdfs_checksum.of_bytes(pieces, "COMPOSITE-CRC32C:00") is None


@pytest.mark.parametrize("client", ["native", "pydoop", "webhdfs"])
def test_what_was_written_wrong_is_found(
    client: str, hdfs_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = join(hdfs_root, f"wrong-{client}")
    (tmp_path / "file").write_bytes(numbered_bytes(3 << 20))
    monkeypatch.setattr(
        "datafeed.sources.hdfs.checksum.of_bytes", lambda pieces, reported: reported[:-10] + "ffff"
    )
    with closing(open_source(url, client)) as source:
        with pytest.raises(SourceError, match=r"was written with 3145728 bytes, and 3145728 bytes"):
            source.put(tmp_path / "file", url)
        assert not source.exists(url)
        monkeypatch.undo()
        source.put(tmp_path / "file", url)
        assert source.stat(url).size == 3 << 20


def test_native_leaves_several_blocks_to_webhdfs(
    hdfs_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own writing of a second block fails where the first is not replicated yet."""
    url, data = join(hdfs_root, "several", "blocks"), numbered_bytes(5 << 20)
    (tmp_path / "file").write_bytes(data)
    monkeypatch.setattr(NativeDriver, "sure_write_bytes", 4 << 20)
    monkeypatch.setattr(NativeDriver, "create", None)
    with closing(open_source(url, "native")) as source:
        source.put(tmp_path / "file", url)
        assert source.read(url) == data
