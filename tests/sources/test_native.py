"""The driver of hdfs-native: how its client is made."""

import os

import hdfs_native
import pytest

from datafeed.sources.namenode import find_namenodes
from datafeed.sources.native import NativeDriver

THREADS = "TOKIO_WORKER_THREADS"


@pytest.mark.parametrize(("given", "wanted"), [(None, "1"), ("3", "3")])
def test_one_thread_receives_unless_the_user_says_how_many(
    monkeypatch: pytest.MonkeyPatch, given: str | None, wanted: str
) -> None:
    found: list[str | None] = []
    monkeypatch.delenv(THREADS, raising=False)
    if given:
        monkeypatch.setenv(THREADS, given)
    monkeypatch.setattr(hdfs_native, "Client", lambda *_: found.append(os.environ.get(THREADS)))
    NativeDriver().connect(find_namenodes("127.0.0.1:1"), 1)
    assert found == [wanted]
    assert os.environ.get(THREADS) == given, "programs started later are not bound by it"
