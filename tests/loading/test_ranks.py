"""Which rank a loader serves."""

import subprocess
import sys
from pathlib import Path

import pytest

from datafeed.errors import ConfigError
from datafeed.loading.ranks import find_rank


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


SCRIPT = """
import sys
import torch.distributed
from datafeed.loading.ranks import find_rank
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
