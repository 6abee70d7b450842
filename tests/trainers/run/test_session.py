"""What ends a run before its first step."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import datafeed
from trainers.reporting.report import Report
from trainers.run import session
from trainers.run.options import TrainOptions
from trainers.world.world import SoloWorld


class TwoRanks(SoloWorld):
    size = 2

    def gather(self, data: bytes) -> list[bytes]:
        return [data, data]


class OneFeed:
    manifest = SimpleNamespace(feed_id="f")
    is_closed = False

    def __enter__(self) -> "OneFeed":
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True


def test_a_rank_that_fails_at_the_start_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """To close a feed with a window is collective, and the other ranks do not come to it."""
    feed = OneFeed()

    def make(*_: Any) -> Any:
        raise ArithmeticError

    monkeypatch.setattr(datafeed, "open", lambda name, cache: feed)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    with pytest.raises(ArithmeticError):
        session.train(TwoRanks(), TrainOptions(feed="x"), Report(False, True), [], make)
    assert not feed.is_closed
