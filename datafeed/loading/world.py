"""Which rank of how many this process is."""

import logging
import os
from typing import Any

import torch.distributed

from datafeed.errors import ConfigError
from datafeed.loading.order.base_order import BaseOrder, check_rank_number

__all__ = ["ALONE", "find_rank", "warn_if_alone", "warn_if_uneven"]

ALONE = (0, 1)
"""Rank 0 of 1: what a process is that nobody tells otherwise."""

# Launchers that start several processes, and where they tell how many: torchrun, Open MPI,
# MPICH and its relatives, srun.
_SIZES = {
    "WORLD_SIZE": "torchrun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpiexec",
    "SLURM_STEP_NUM_TASKS": "srun",
}
_EVEN = 1.1
"""By so much the largest share of a step may exceed the smallest without a word."""
_log = logging.getLogger("datafeed")


def find_rank(comm: Any, rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Find this process's rank and the number of ranks.

    Args:
        comm: An mpi4py communicator, or None.
        rank, world_size: Both or none. Without them and without ``comm``: what
            ``torch.distributed`` says if it is initialised, else rank 0 of 1.

    Raises:
        ConfigError: only one of them is given, or they contradict ``comm`` or each other.
    """
    if (rank is None) != (world_size is None):
        raise ConfigError(f"rank={rank}, world_size={world_size}: give both or none")
    if comm is not None and not hasattr(comm, "Get_rank"):
        raise ConfigError(f"comm={comm!r}: give an mpi4py communicator, or rank= and world_size=")
    if rank is not None and world_size is not None:
        check_rank_number(rank, world_size)
        if comm is not None and (rank, world_size) != (comm.Get_rank(), comm.Get_size()):
            raise ConfigError(f"rank={rank}, world_size={world_size}: comm says otherwise")
        return rank, world_size
    if comm is not None:
        return comm.Get_rank(), comm.Get_size()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return ALONE


def warn_if_alone() -> None:
    """Warn where a launcher started several processes, each of which would read everything."""
    for variable, launcher in _SIZES.items():
        size = os.environ.get(variable, "")
        if size.isdigit() and int(size) > 1:
            _log.warning(
                "%s started %s processes (%s), and this loader gives all samples to each of them; "
                "give comm=, or rank= and world_size=, or initialise torch.distributed first",
                launcher, size, variable,
            )  # fmt: skip
            return


def warn_if_uneven(order: BaseOrder, rank: int, world_size: int) -> None:
    """Warn, on rank 0, where some ranks get many more samples of each step than others."""
    streams = order.streams
    most, least = -(-streams // world_size), streams // world_size
    if rank == 0 and order.shuffle is True and most > _EVEN * least:
        _log.warning(
            "%d streams are shared by %d ranks: of each step some get %.3g times as many samples "
            "as others; give streams=%d (it changes the order), or weigh ranks by their samples",
            streams, world_size, most / least, most * world_size,
        )  # fmt: skip
