"""torch's generators over save and restore."""

import torch

from trainers.run.random_state import gather_states, restore_states, seed_rank
from trainers.world.world import SoloWorld


def test_the_same_number_of_ranks_goes_on_with_the_same_numbers() -> None:
    seed_rank(5, rank=0)
    torch.rand(7)
    states = gather_states(SoloWorld())
    wanted = torch.rand(5)
    torch.rand(100)
    restore_states(states, rank=0, size=1, seed=5, step=3)
    assert torch.equal(torch.rand(5), wanted)


def test_each_rank_goes_on_with_its_own() -> None:
    seed_rank(5, rank=0)
    first = gather_states(SoloWorld())["cpu"][0]
    seed_rank(5, rank=1)
    second = gather_states(SoloWorld())["cpu"][0]
    wanted = torch.rand(5)
    restore_states({"cpu": [first, second]}, rank=1, size=2, seed=5, step=3)
    assert torch.equal(torch.rand(5), wanted)


def test_another_number_of_ranks_gets_fresh_seeds() -> None:
    states = gather_states(SoloWorld())
    seen = []
    for rank in range(3):
        for step in (3, 4):
            restore_states(states, rank=rank, size=3, seed=5, step=step)
            seen.append(torch.rand(5))
    restore_states(states, rank=0, size=3, seed=5, step=3)
    assert torch.equal(torch.rand(5), seen[0])
    assert len(torch.unique(torch.stack(seen), dim=0)) == len(seen)
