"""Ranks share a machine but no folder: each has a root for its temporary files of its own."""

import os
import shutil
import tempfile

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep ranks from numbering and clearing up one another's folders, as pytest's own root has."""
    root = tempfile.mkdtemp(prefix="datafeed-rank-")
    os.environ["PYTEST_DEBUG_TEMPROOT"] = root
    config.add_cleanup(lambda: shutil.rmtree(root, ignore_errors=True))
