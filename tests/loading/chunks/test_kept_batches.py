"""What a user holds back who keeps batches: a group's buffer each; of copies, nothing."""

import copy
import io
from pathlib import Path

import pytest
import torch

from datafeed import DataLoader
from datafeed.loading.chunks.buffer_pool import Pool
from datafeed.loading.schedule.prefetch_depth import Depth
from tests.loading.loader_feeds import write_feed

N_SAMPLES, N_EPOCHS = 4000, 12


@pytest.mark.parametrize("batch_bytes", [1, 1000, 50_000, 1 << 20, 7 << 20, 30 << 20])
def test_a_group_has_at_most_16_mib_and_128_batches(batch_bytes: int) -> None:
    """As docs/loader.md says."""
    depth = Depth.of(1, batch_bytes)
    assert depth.group == 1 or depth.group * batch_bytes <= 16 << 20
    assert depth.group <= 128


@pytest.mark.parametrize("copies", [True, False])
def test_copies_let_buffers_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    made: list[int] = []
    make = Pool._make

    def noted(self: Pool, n_bytes: int) -> memoryview:
        memory = make(self, n_bytes)
        made.append(memory.nbytes)
        return memory

    monkeypatch.setattr(Pool, "_make", noted)
    kept: list[dict[str, torch.Tensor]] = []
    n_made = []
    with (
        write_feed(tmp_path / "f", [N_SAMPLES], 50) as feed,
        DataLoader(feed, batch_size=8, streams=4) as loader,
    ):
        for _ in range(N_EPOCHS):
            for i, batch in enumerate(loader):
                if i == 3:
                    own = {name: values.clone() for name, values in batch.items()}
                    kept.append(own if copies else batch)
            del batch
            n_made.append(len(made))
    assert max(made) <= 16 << 20
    # Two fields, six epochs: 12 buffers are kept. Otherwise a few, if all are in use at once.
    assert (n_made[-1] - n_made[N_EPOCHS // 2] > 4) != copies


def test_what_is_saved_or_copied_is_the_batch_alone(tmp_path: Path) -> None:
    with (
        write_feed(tmp_path / "f", [N_SAMPLES], 50) as feed,
        DataLoader(feed, batch_size=8, streams=4) as loader,
    ):
        images = next(iter(loader))["image"]
        assert copy.deepcopy(images).untyped_storage().nbytes() == images.nbytes
        file = io.BytesIO()
        torch.save(images, file)
        assert file.tell() < images.nbytes + 4000
