"""Which rank of how many this process is."""

from typing import Any

import torch.distributed

from datafeed.errors import ConfigError

__all__ = ["find_rank"]


def find_rank(comm: Any, rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Find this process's rank and the number of ranks.

    Args:
        comm: An mpi4py communicator, or None.
        rank, world_size: Both or none. Without them and without ``comm``: what
            ``torch.distributed`` says if it is initialised, else rank 0 of 1.

    Raises:
        ConfigError: only one of them is given, or they contradict ``comm``.
    """
    if (rank is None) != (world_size is None):
        raise ConfigError(f"rank={rank}, world_size={world_size}: give both or none")
    if rank is not None and world_size is not None:
        if comm is not None and (rank, world_size) != (comm.Get_rank(), comm.Get_size()):
            raise ConfigError(f"rank={rank}, world_size={world_size}: comm says otherwise")
        return rank, world_size
    if comm is not None:
        return comm.Get_rank(), comm.Get_size()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
