"""Which file systems files are mapped from."""

from pathlib import Path

import pytest

import datafeed
from datafeed.cache.parts import mapped_parts as mapped
from datafeed.cache.parts import mounts
from datafeed.cache.parts.mounts import is_mappable
from tests.feed.made import make_feed


def test_only_disks_of_this_machine_are_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_mappable(tmp_path)
    assert not is_mappable(Path("/proc/self"))
    monkeypatch.setattr("sys.platform", "darwin")
    assert not is_mappable(tmp_path)


def test_the_last_mount_over_a_folder_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "_LIST", listed)
    lines = [
        b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
        rb"23 22 0:30 / /of\040two\134words rw - nfs4 host:/a rw,vers=4.2",
        b"24 22 0:31 / /odd\xff rw master:1 propagate_from:2 - tmpfs tmpfs rw",
        b"25 22 0:32 / /over rw - nfs host:/b rw",
        b"26 22 0:33 / /over rw - xfs /dev/sdb rw",
    ]
    listed.write_bytes(b"\n".join(lines) + b"\n")
    assert is_mappable(Path("/of"))
    assert not is_mappable(Path("/of two\\words/feed"))
    assert is_mappable(Path("/over/feed"))
    assert is_mappable(Path("/overlong"))
    listed.unlink()
    assert not is_mappable(Path("/of"))


def test_a_feed_asks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    make_feed(tmp_path / "feed", [8, 8], 4)
    options: list[Path] = []

    def counted(folder: Path) -> bool:
        options.append(folder)
        return is_mappable(folder)

    monkeypatch.setattr(mapped, "is_mappable", counted)
    with datafeed.open(tmp_path / "feed") as feed:
        for _ in range(3):
            with datafeed.DataLoader(feed, 4) as loader:
                assert sum(len(batch["label"]) for batch in loader) == 16
    assert options == [tmp_path / "feed"]
