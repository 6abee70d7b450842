"""Batches on a GPU: copied on a stream of their own, their memory held until that is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from datafeed import DataLoader
from datafeed.loading.transforms.cuda import CudaCopies
from tests.loading.loader_feeds import check_batch, write_feed

HAS_GPU = torch.cuda.is_available()


class Stream:
    """Stands in for a CUDA stream."""

    def __init__(self, *_: Any) -> None:
        self.waited: list[Event] = []

    def wait_event(self, event: "Event") -> None:
        self.waited.append(event)


class Event:
    """Stands in for a CUDA event."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.is_done = False

    def record(self, stream: Stream) -> None:
        self.stream = stream

    def query(self) -> bool:
        return self.is_done


def test_what_is_sent_is_held_until_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    users, now, kept = Stream(), [], []

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        now.append(stream)
        yield
        now.pop()

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        assert len(now) == 1
        assert non_blocking
        return tensor.clone()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: users)
    monkeypatch.setattr(torch.Tensor, "to", to)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: kept.append(stream))
    copies = CudaCopies(torch.device("cuda"))
    batches = [{"x": torch.arange(i), "text": ["a"]} for i in range(4)]
    sent = [copies.send(batch) for batch in batches[:3]]
    assert [held for _, held in copies._held] == batches[:3]
    sent[0].event.is_done = sent[2].event.is_done = True  # type: ignore[attr-defined]
    copies.send(batches[3])
    assert [held for _, held in copies._held] == batches[1:]
    received, event = copies.receive(sent[1]), cast(Any, sent[1].event)
    assert users.waited == [event]
    assert kept == [users]
    assert received["x"].tolist() == [0]
    assert received["text"] == ["a"]


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs a CUDA device")
@pytest.mark.parametrize("has_transform", [False, True])
def test_batches_come_to_the_gpu(tmp_path: Path, has_transform: bool) -> None:
    options: dict[str, Any] = {"device": "cuda", "with_index": True}
    if has_transform:
        options["sample_transform"] = lambda sample, generator: sample
    with (
        write_feed(tmp_path / "f", [200, 91], 6) as feed,
        DataLoader(feed, batch_size=8, streams=2, **options) as loader,
    ):
        held = [batch for _ in range(3) for batch in loader]
        for batch in held:
            assert all(value.is_cuda for value in batch.values())
            on_cpu = {name: value.cpu() for name, value in batch.items()}
            check_batch(on_cpu, on_cpu["index"].numpy())


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="needs a CUDA device")
def test_batches_are_page_locked_on_request(tmp_path: Path) -> None:
    with (
        write_feed(tmp_path / "f", [200], 6) as feed,
        DataLoader(feed, batch_size=8, streams=2, pin_memory=True) as loader,
    ):
        for batch in loader:
            assert all(value.is_pinned() for value in batch.values())
