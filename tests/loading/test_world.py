"""Which rank a loader serves."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from datafeed import DataLoader, Order
from datafeed.errors import ConfigError
from datafeed.loading.world import find_rank, warn_if_uneven
from tests.loading.loader_feeds import write_feed


class Comm:
    """What a loader needs of an mpi4py communicator."""

    def Get_rank(self) -> int:  # noqa: N802
        return 3

    def Get_size(self) -> int:  # noqa: N802
        return 7


def test_a_communicator_or_numbers_or_one_rank() -> None:
    assert find_rank(Comm(), None, None) == (3, 7)
    assert find_rank(None, 2, 5) == (2, 5)
    assert find_rank(Comm(), 3, 7) == (3, 7)
    assert find_rank(None, None, None) == (0, 1)


@pytest.mark.parametrize(
    ("streams", "world_size", "words"),
    [
        (
            3,
            2,
            "3 streams are shared by 2 ranks: of each .* 2 times as many.*streams=4 ",
        ),
        (96, 36, "some get 1.5 times as many.*streams=108 "),
        (96, 5, ""),  # 20 and 19
        (96, 32, ""),
        (1, 1, ""),
    ],
)
def test_shares_that_differ_much_are_told_once(
    streams: int, world_size: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    order = Order(10_000, 10, 64, streams=streams)
    for rank in range(world_size):
        warn_if_uneven(order, rank, world_size)
    warn_if_uneven(Order(10_000, 10, 64, streams=streams, shuffle=False), 0, world_size)
    assert len(caplog.records) == bool(words)
    assert re.search(words, caplog.text)


def test_a_loader_tells_of_uneven_shares(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("torch")
    with write_feed(tmp_path / "f", [240], 10) as feed:
        sizes = []
        for rank in range(2):
            with DataLoader(feed, 8, rank=rank, world_size=2) as loader:
                sizes.append(sum(len(batch["id"]) for batch in loader))
        assert sizes == [160, 80]
        assert caplog.text.count("3 streams are shared by 2 ranks") == 1
        with DataLoader(feed, 8, rank=0, world_size=2, streams=4) as loader:
            assert len(next(iter(loader))["id"]) == 8
        assert len(caplog.records) == 1


SCRIPT = """
import sys
import torch.distributed
from datafeed.loading.world import find_rank
rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
print(find_rank(None, None, None), find_rank(None, 4, 9))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_torch_distributed_is_asked_where_it_is_initialised(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    answers = [process.communicate(timeout=100)[0] for process in processes]
    assert answers == ["(0, 2) (4, 9)\n", "(1, 2) (4, 9)\n"]


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match="both or none"):
        find_rank(None, 1, None)
    with pytest.raises(ConfigError, match="comm says otherwise"):
        find_rank(Comm(), 1, 7)
