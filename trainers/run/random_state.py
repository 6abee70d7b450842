"""torch's random generators: seeded for each rank, kept in checkpoints."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainers.world.world import World

__all__ = ["gather_states", "restore_states", "seed_rank"]


def seed_rank(seed: int, rank: int, step: int = 0) -> None:
    """Seed torch's generators, different on each rank and from each step trained on from."""
    torch.manual_seed((seed * 1_000_003 + rank * 7_919 + step * 104_729) & (2**63 - 1))


def gather_states(world: World) -> dict[str, list[Tensor]]:
    """Collect the generators' states of all ranks. Collective.

    Returns:
        ``cpu``, and ``cuda`` where there is a device: uint8 tensors, one for each rank.
    """
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():  # not yet run on a GPU
        states["cuda"] = torch.cuda.get_rng_state()
    return {
        name: [
            torch.frombuffer(bytearray(data), dtype=torch.uint8)
            for data in world.gather(state.numpy().tobytes())
        ]
        for name, state in states.items()
    }


def restore_states(
    states: Mapping[str, Sequence[Tensor]], rank: int, size: int, seed: int, step: int
) -> None:
    """Go on with the states of a checkpoint; another number of ranks gets fresh seeds."""
    if len(states["cpu"]) != size:
        seed_rank(seed, rank, step)
        return
    torch.set_rng_state(states["cpu"][rank])
    if "cuda" in states and torch.cuda.is_available():  # not yet run on a GPU
        torch.cuda.set_rng_state(states["cuda"][rank])
