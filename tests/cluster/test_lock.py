"""One command at a time works on a folder."""

from pathlib import Path

import pytest

from datafeed.cluster.lock import locked
from datafeed.errors import ClusterError


def test_second_holder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with (
        locked(folder),
        pytest.raises(ClusterError, match="another command is at work"),
        locked(folder, timeout_s=0.1),
    ):
        raise AssertionError("both hold it")


def test_folder_may_be_removed_by_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path / "a"):
        (tmp_path / "a").rmdir()
    with locked(tmp_path / "a", timeout_s=1):
        assert (tmp_path / "a").is_dir()
