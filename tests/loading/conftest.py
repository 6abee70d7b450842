"""The small feed, and a look after every test: no loader may leave a thread behind."""

import gc
import time
from collections.abc import Iterator

import pytest

from datafeed import Feed
from tests.loading.loader_feeds import loader_threads, write_feed
from tests.loading.small_feed import PARTS, PER_CHUNK


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


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    """The small feed."""
    with write_feed(tmp_path_factory.mktemp("feeds") / "a", PARTS, PER_CHUNK) as opened:
        yield opened


@pytest.fixture(params=["mapped", "fetched"])
def feed(written: Feed, request: pytest.FixtureRequest) -> Feed:
    """The small feed, its chunks resident in one way and in the other."""
    if request.param == "fetched":
        request.getfixturevalue("fetched")
    return written


@pytest.fixture
def fetched_feed(written: Feed, fetched: None) -> Feed:
    """The small feed, its chunks fetched."""
    return written
