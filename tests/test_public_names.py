"""The names that users rely on."""

import subprocess
import sys

import datafeed
from datafeed import errors


def test_public_names() -> None:
    assert datafeed.__all__ == [
        "CacheAccess", "CacheClient", "DataLoader", "Feed", "Order", "blend", "errors", "open",
        "stage",
    ]  # fmt: skip
    for name in datafeed.__all__:
        assert getattr(datafeed, name) is not None


def test_error_tree() -> None:
    for name in ("SourceError", "FormatError", "CacheError", "StallError", "ConfigError"):
        assert issubclass(getattr(errors, name), errors.FeedError)
    for name in ("CollectiveMismatch", "PeerLost"):
        assert issubclass(getattr(errors, name), errors.TrainerError)
    assert sorted(errors.__all__) == errors.__all__


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    assert str(errors.StallError("a\n  b\n\nc  d\n")) == "a; b; c  d"
    assert str(errors.PeerLost("gone")) == "gone"
    assert errors.ConfigError("x", 3).args == ("x", 3)


def test_staging_needs_neither_torch_nor_mpi_nor_java() -> None:
    script = (
        "import sys, datafeed.staging.stage, datafeed.staging.task.worker, datafeed.cli.main\n"
        "heavy = {'torch', 'mpi4py', 'pydoop', 'hdfs_native', 'pymemcache', 'trainers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_reading_a_feed_needs_no_h5py() -> None:
    script = "import sys, datafeed.dataset.feed; print('h5py' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "False", done.stderr


def said(script: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()
