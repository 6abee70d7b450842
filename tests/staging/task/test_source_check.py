"""A shard is the one of the plan: asked while it is read, told before what reading it said."""

import threading
from pathlib import Path

import pytest

from datafeed.errors import FormatError, SourceError
from datafeed.sources import Source, open_source
from datafeed.staging.plan.plan import mtime_of
from datafeed.staging.plan.shard_table import Shard
from datafeed.staging.task.source_check import unchanged

DEADLINE_S = 20.0


@pytest.fixture
def source() -> Source:
    return open_source("/")


def shard_at(path: Path, source: Source, n_bytes: int, checksum: str | None = None) -> Shard:
    path.write_bytes(bytes(n_bytes))
    return Shard(str(path), n_bytes, mtime_of(source.stat(str(path))), checksum)


def test_the_checksum_comes_while_the_shard_is_read(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read = threading.Event()
    monkeypatch.setattr(source, "checksum", lambda url: str(is_read.wait(DEADLINE_S)))
    with unchanged(source, shard_at(tmp_path / "s", source, 1 << 20)) as checksum:
        is_read.set()
    assert checksum.result() == "True"


def test_small_shards_are_not_asked_for_theirs(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "checksum", lambda url: "known")
    with unchanged(source, shard_at(tmp_path / "s", source, 100)) as checksum:
        assert checksum.result() is None
    with unchanged(source, shard_at(tmp_path / "s", source, 100, "known")) as checksum:
        pass
    assert checksum.result() == "known"


def test_another_checksum_is_told_even_where_reading_failed(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "checksum", lambda url: "new")
    shard = shard_at(tmp_path / "s", source, 100, "old")
    with pytest.raises(SourceError, match=r"checksum old then, new now"), unchanged(source, shard):
        pass
    with pytest.raises(SourceError, match=r"checksum old then, new now"), unchanged(source, shard):
        raise FormatError("no tar")


def test_a_shard_as_planned_fails_for_its_own_reason(source: Source, tmp_path: Path) -> None:
    shard = shard_at(tmp_path / "s", source, 1 << 20)
    with pytest.raises(FormatError, match="no tar"), unchanged(source, shard):
        raise FormatError("no tar")
    assert not [thread for thread in threading.enumerate() if "checksum" in thread.name]


def test_another_size_is_refused_before_it_is_read(source: Source, tmp_path: Path) -> None:
    shard = shard_at(tmp_path / "s", source, 100)
    (tmp_path / "s").write_bytes(b"longer" * 100)
    with pytest.raises(SourceError, match=r"100 bytes then, 600 now"), unchanged(source, shard):
        raise AssertionError("read")
