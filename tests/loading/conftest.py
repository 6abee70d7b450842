"""No test of a loader may leave a thread behind."""

import gc
import time
from collections.abc import Iterator

import pytest

from datafeed import Feed
from tests.loading.loader_feeds import loader_threads


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Wait until all loaders' threads have ended, and fail if they do not."""
    yield
    if loader_threads():
        gc.collect()
    deadline = time.monotonic() + 10
    while loader_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert loader_threads() == []


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let chunks be fetched into the arena, as if the parts lay on another machine."""
    monkeypatch.setattr(Feed, "mapped", lambda self: None)
