"""Carries a plan out: at each tick of a step, copies that begin and copies that must be done."""

from collections.abc import Iterator, Mapping

from trainers.out_of_core.memory.groups import Group
from trainers.out_of_core.planning.actions import Kind
from trainers.out_of_core.planning.plan import Plan
from trainers.out_of_core.planning.timeline import Transfer

__all__ = ["Stepper"]

IDLE = -1


class Stepper:
    """The ticks of a step.

    Args:
        plan: What to do.
        groups: What is moved; groups of activations come and go while a step goes on.
        end: The last tick.
    """

    def __init__(self, plan: Plan, groups: Mapping[tuple[Kind, int], Group], end: int) -> None:
        self.plan, self._groups, self._end = plan, groups, end
        self.tick = IDLE
        self._away = {(t.kind, t.segment) for t in plan.transfers if t.is_fetch and t.wraps} | {
            (t.kind, t.segment) for t in plan.transfers if t.is_fetch and t.due == 0
        }

    def flush(self) -> None:
        """Bring everything to where it is when a step begins, whatever happened before."""
        self.tick = IDLE
        for key, group in self._groups.items():
            group.flush()
            if key in self._away:
                group.begin_store()
                group.end_store()
        for key, group in self._groups.items():
            if key not in self._away:
                group.begin_fetch()
                group.flush()

    def advance(self, tick: int) -> None:
        """Do what must be done before a tick's computation, and before those left out."""
        while self.tick < tick:
            self.tick += 1
            self._do(self.tick)

    def _do(self, tick: int) -> None:
        """Free memory before more is taken, as the plan counts on."""
        moved = list(self._moved())
        for is_fetch in (False, True):
            begin, end = (
                (Group.begin_fetch, Group.flush)
                if is_fetch
                else (Group.begin_store, Group.end_store)
            )
            for transfer, group in moved:
                if transfer.is_fetch == is_fetch and transfer.issue == tick:
                    begin(group)
            for transfer, group in moved:
                if transfer.is_fetch == is_fetch and transfer.due == tick:
                    end(group)

    def _moved(self) -> Iterator[tuple[Transfer, Group]]:
        """Return the transfers with their groups; a part that was not computed has none."""
        for transfer in self.plan.transfers:
            group = self._groups.get((transfer.kind, transfer.segment))
            if group is not None:
                yield transfer, group
