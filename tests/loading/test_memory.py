"""Memory does not grow with epochs."""

import gc
import os
from pathlib import Path

import pytest

from datafeed import DataLoader
from tests.loading.loader_feeds import RICH, write_feed

N_EPOCHS = 100
SPARE_BYTES = 8 << 20


def own_bytes() -> int:
    """Resident memory of this process that no file is behind."""
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("way", ["mapped", "fetched", "fetched into little memory"])
def test_memory_stays_flat_over_100_epochs(
    tmp_path: Path, way: str, request: pytest.FixtureRequest
) -> None:
    if way != "mapped":
        request.getfixturevalue("fetched")
    with write_feed(tmp_path / "f", [130, 95], 10, RICH) as feed:
        memory_bytes = (14 if "little" in way else 500) * sum(feed.manifest.max_piece_bytes)
        with DataLoader(feed, batch_size=24, streams=4, memory_bytes=memory_bytes) as loader:
            for epoch in range(N_EPOCHS):
                n = sum(len(batch["id"]) for batch in loader)
                assert n == 225
                if epoch == N_EPOCHS // 10:
                    gc.collect()
                    before = own_bytes()
            gc.collect()
            assert own_bytes() - before < SPARE_BYTES
