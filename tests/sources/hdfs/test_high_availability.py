"""Two real NameNodes of a nameservice, known by HADOOP_CONF_DIR alone, through a failover."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from datafeed import hadoop_home
from datafeed.cluster.hadoop import hadoop_conf
from datafeed.sources import Source, join, open_source
from tests.sources.ha_pair import NAMESERVICE, HaPair
from tests.sources.spaces import CLIENTS, HANG_GUARD_S, numbered_bytes
from tests.staging.made import DATAFEED, write_big_shards

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]
_ROOT = f"hdfs://{NAMESERVICE}"
_DATA = numbered_bytes((2 << 20) + 5)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HaPair]:
    with HaPair(tmp_path / "pair") as pair:
        monkeypatch.setenv("HADOOP_CONF_DIR", str(pair.conf_dir))
        monkeypatch.setenv("HADOOP_HOME", str(hadoop_home.home()))
        monkeypatch.setenv("JAVA_HOME", str(hadoop_home.java_home()))
        monkeypatch.setenv("LIBHDFS_OPTS", " ".join(("-Xmx256m", *hadoop_conf.SMALL_JVM)))
        monkeypatch.setenv("PATH", f"{hadoop_home.bin_dir()}:{os.environ['PATH']}")
        yield pair


def stage(name: str, client: str) -> None:
    """Stage in a process of its own, as a JVM reads its configuration once."""
    words = [DATAFEED, "stage", join(_ROOT, "raw"), "--to", join(_ROOT, name)]
    words += ["--hdfs-client", client, "--workers", "1"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-3000:]


def parts(source: Source, name: str) -> list[bytes]:
    found = [info.url for info in source.glob(join(_ROOT, name, "part-*.h5"))]
    return [source.read(url) for url in found]


def test_every_client_goes_on_after_a_failover(pair: HaPair, tmp_path: Path) -> None:
    """Clients that were connected, and new ones; reading, writing and staging."""
    sources = {
        name: open_source(_ROOT, name, isolated=name == "pydoop", timeout_s=HANG_GUARD_S)
        for name in CLIENTS
    }
    writers = [name for name in CLIENTS if name != "pydoop"]  # that one by staging, below
    native = sources["native"]
    for shard in write_big_shards(tmp_path / "raw", 2):
        native.put(shard, join(_ROOT, "raw", shard.name))
    for name in writers:
        sources[name].write(join(_ROOT, "before", name), _DATA)
    for source in sources.values():
        assert all(source.read(join(_ROOT, "before", name)) == _DATA for name in writers)
    stage("feed", "native")
    wanted = parts(native, "feed")
    assert wanted
    pair.fail_over()
    for name in writers:
        sources[name].write(join(_ROOT, "after", name), _DATA)
    for source in sources.values():
        for folder in ("before", "after"):
            assert all(source.read(join(_ROOT, folder, name)) == _DATA for name in writers)
        source.close()
    for name in CLIENTS:
        stage(f"feed-{name}", name)
        with closing(open_source(_ROOT, "native")) as source:
            assert parts(source, f"feed-{name}") == wanted
