"""What the lane of copies leaves behind."""

import time
import weakref
from concurrent.futures.thread import _WorkItem
from contextlib import closing

import pytest
import torch

from trainers.out_of_core.memory.copies import ThreadCopies


def test_memory_is_free_when_its_copy_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waited counts it as free, though the thread had no time yet to put its work away."""
    run = _WorkItem.run

    def run_and_tarry(item: "_WorkItem[None]") -> None:
        run(item)
        time.sleep(0.3)

    monkeypatch.setattr(_WorkItem, "run", run_and_tarry)
    to, source = torch.zeros(64, dtype=torch.uint8), torch.ones(64, dtype=torch.uint8)
    with closing(ThreadCopies()) as copies:
        mark = copies.start([(to, source)])
        gone = weakref.ref(source)
        del source
        copies.finish(mark)
        assert gone() is None
    assert to.tolist() == [1] * 64
