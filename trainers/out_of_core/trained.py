"""A model whose segments visit the device, a step at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from datafeed.errors import TrainerError
from trainers.out_of_core.calls import Call
from trainers.out_of_core.inventory import Inventory
from trainers.out_of_core.memory.copies import Copies
from trainers.out_of_core.memory.device import DeviceMemory
from trainers.out_of_core.memory.host import HostPool
from trainers.out_of_core.passes import Boundary, Pass
from trainers.out_of_core.planning.plan import Plan, Policy, make_plan, on_demand
from trainers.out_of_core.planning.profile import Profile, Ticks
from trainers.out_of_core.planning.recorder import Recorder
from trainers.out_of_core.segments import Segment, parameters_apart
from trainers.out_of_core.stepper import IDLE, Stepper
from trainers.out_of_core.takeover import ModelTakeover
from trainers.out_of_core.updates import Updates

__all__ = ["OutOfCore"]

_N_WARM_UP = 1
"""Steps before the one that is profiled: in the first everything takes longer."""


class OutOfCore:
    """What ``out_of_core`` gives.

    Args:
        model, optimizer: As given to ``out_of_core``; so are the last three.
        segments: Of the model.
        is_chain: Whether each segment takes what the one before gives, and nobody else sees it.
        device: Of the computation.
        memory, copies, pool: Of the device, between, and of the host; closed with this.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        segments: Sequence[Segment],
        is_chain: bool,
        device: torch.device,
        memory: DeviceMemory,
        copies: Copies,
        pool: HostPool,
        budget_bytes: int,
        policy: Policy,
        on_gradients: Callable[[list[nn.Parameter]], object] | None,
    ) -> None:
        self._model, self._optimizer, self._segments = model, optimizer, list(segments)
        self._device, self._memory, self._copies = device, memory, copies
        self._budget_bytes, self._policy = budget_bytes, policy
        self._ticks = Ticks(len(self._segments))
        apart = parameters_apart(model, optimizer, self._segments)
        self._updates = Updates(optimizer, apart, on_gradients)
        self._anchor = torch.zeros((), device=device, requires_grad=True)
        self._takeover = ModelTakeover(model, optimizer)
        try:
            self._inventory = Inventory(
                model, optimizer, segments, is_chain, apart, device, memory, copies, pool
            )
        except BaseException:
            self._takeover.close()
            raise
        self._n_steps = self._n_passes = 0
        self._is_closed = False
        self.profile: Profile | None = None
        """What the profiled step found; None before."""
        self.peak_bytes = 0
        """Most bytes of the device in the last step."""
        self._recorder: Recorder | None = Recorder(self._ticks, memory, copies)
        self._follow(on_demand(self._ticks))
        for i, segment in enumerate(self._segments):
            self._takeover.replace(segment.module, partial(self._run, i, segment.module.forward))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the model, as ``model(...)`` does."""
        return self._model(*args, **kwargs)

    @property
    def plan(self) -> Plan:
        """What the steps do now."""
        return self._stepper.plan

    def _follow(self, plan: Plan) -> None:
        self._stepper = Stepper(plan, self._inventory.groups, self._ticks.end)
        self._moves = {t.segment for t in plan.transfers if t.kind == "activations"}

    def _run(self, i: int, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Stand for a segment's ``forward``."""
        call = Call(compute, args, kwargs)
        inputs, call.tensors = call.tensors, []
        for x in inputs:
            if x.device == self._device and x.layout == torch.strided:
                self._memory.note(x.untyped_storage())
        segment = self._segments[i]
        if not torch.is_grad_enabled():
            weights = self._inventory.groups["weights", i]
            with self._inventory.present(weights), self._memory.watch():
                return call.result(call(inputs))
        self._begin_forward(i, inputs)
        if not any(x.requires_grad for x in (*inputs, *segment.module.parameters())):
            with self._tick(self._ticks.forward(i)), torch.no_grad():
                return call.result(call(inputs))
        run = Pass(segment.name, segment.module, call, i in self.plan.recomputed, self._device)
        forward = partial(self.forward_of, i, run)
        backward = partial(self.backward_of, i, self._n_passes, run)
        return call.result(Boundary.apply(forward, backward, self._anchor, *inputs))  # type: ignore[no-untyped-call]

    def _begin_forward(self, i: int, inputs: Sequence[Tensor]) -> None:
        """See where in a step this call stands; begin one, or leave one that was given up."""
        tick, segments = self._stepper.tick, self._segments
        if tick >= len(segments):
            raise TrainerError(
                "out of core: the step before has not ended; call step() after each backward "
                "pass. If that pass failed, some segments are updated and others not: go on "
                "from a checkpoint"
            )
        if 0 < i <= tick:
            raise TrainerError(
                f"out of core: {segments[i].name!r} was called after {segments[tick].name!r}; "
                "name the segments in the order in which the forward pass calls them, each once"
            )
        if tick == IDLE or i == 0:
            self._n_passes += 1
            self._inventory.begin_pass(inputs)
            self._stepper.flush()

    @contextmanager
    def _tick(self, tick: int) -> Iterator[None]:
        """Make room and fetch for a tick; count, and in the profiled step measure, the body."""
        self._stepper.advance(tick)
        if self._recorder is None:
            with self._memory.watch():
                yield
            return
        moved = sum(g.n_bytes for g in self._inventory.groups.values() if g.is_resident)
        with self._recorder.measure(tick, moved), self._memory.watch():
            yield

    def forward_of(self, i: int, run: Pass, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Compute a segment's forward pass at its tick."""
        with self._tick(self._ticks.forward(i)):
            results = run.forward(inputs)
        self._inventory.keep(i, dict(run.saved), inputs, results, i in self._moves)
        run.saved.clear()
        return results

    def backward_of(
        self, i: int, n_pass: int, run: Pass, grads: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Compute a segment's backward pass at its tick, then update its weights."""
        tick = self._ticks.backward(i)
        if n_pass != self._n_passes or self._stepper.tick >= tick:
            raise TrainerError(
                f"out of core: a backward pass came to {self._segments[i].name!r} out of turn: "
                "segments are called in the order in which they are named, each once; then come "
                "one backward pass through all of it, and step()"
            )
        with self._tick(tick):
            if self._recorder is not None and i in self._moves:
                n_bytes = self._inventory.groups["activations", i].n_bytes
                self._recorder.activation_bytes[i] = n_bytes
            self._inventory.drop_activations(i)
            input_grads = run.backward(grads)
        with self._tick(self._ticks.update(i)):
            self._updates.update(self._segments[i].parameters)
        self._inventory.updated(i)
        return input_grads

    def step(self) -> None:
        """End a step: in place of ``optimizer.step()`` and ``optimizer.zero_grad()``.

        The segments were updated during the backward pass; what belongs to none is updated now.

        Raises:
            TrainerError: after the profiled step, if the budget is below the least that works.
        """
        is_whole = self._stepper.tick >= len(self._segments)
        with self._tick(self._ticks.end):
            self._updates.update(self._updates.apart)
        self._n_passes += 1
        self._inventory.drop_activations()
        self._stepper.flush()
        self.peak_bytes = self._recorder.peak if self._recorder else self._memory.peak()
        self._memory.mark()
        if self._recorder is not None and is_whole:
            self._end_profiled_step(self._recorder)

    def _end_profiled_step(self, recorder: Recorder) -> None:
        self._n_steps += 1
        self._recorder = Recorder(self._ticks, self._memory, self._copies)
        if self._n_steps <= _N_WARM_UP:
            return
        found = [
            self._inventory.profile(i, n_bytes)
            for i, n_bytes in enumerate(recorder.activation_bytes)
        ]
        self.profile = recorder.profile(found, self._inventory.rate(), self._device)
        self._follow(make_plan(self.profile, self._budget_bytes, self._policy))
        self._recorder, self._memory.budget_bytes = None, self._budget_bytes
        self._stepper.flush()
        moved = {(t.kind, t.segment) for t in self.plan.transfers}
        for key, group in self._inventory.groups.items():
            if key not in moved:
                group.release()
        self._memory.mark()

    def state_dict(self) -> dict[str, Any]:
        """Copy model and optimizer to the host, for a checkpoint, between two steps.

        Load it into both before ``out_of_core``: ``model.load_state_dict(state["model"])``,
        ``optimizer.load_state_dict(state["optimizer"])``.
        """
        with self._takeover.copying():
            tree = {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}
        return self._inventory.copied(tree)

    def close(self) -> None:
        """Bring everything back to the device, whatever its budget; twice is fine."""
        if self._is_closed:
            return
        self._is_closed = True
        self._memory.budget_bytes = None
        self._inventory.close()
        self._takeover.close()

    def __enter__(self) -> "OutOfCore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
