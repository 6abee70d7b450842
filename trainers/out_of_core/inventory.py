"""All that can be moved: weights, optimizer states and activations of each segment."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from trainers.out_of_core.adoption import SMALL_BYTES, key_of, move_in, pieces_of, states_of
from trainers.out_of_core.memory.copies import Copies, rate
from trainers.out_of_core.memory.device import DeviceMemory
from trainers.out_of_core.memory.groups import Group, Piece
from trainers.out_of_core.memory.host import HostPool
from trainers.out_of_core.planning.actions import Kind
from trainers.out_of_core.planning.profile import SegmentProfile
from trainers.out_of_core.segments import Segment, constants_of

__all__ = ["Inventory"]

Storages = dict[int, torch.UntypedStorage]


class Inventory:
    """The groups of a model. Making one moves all of them to the host.

    Args:
        model, optimizer: Whose tensors they are.
        segments: Of the model.
        is_chain: What goes from segment to segment can be moved, too.
        apart: Parameters of no segment, which stay on the device.
        device: Of the computation.
        memory, copies, pool: Of the device, between, and of the host.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        segments: Sequence[Segment],
        is_chain: bool,
        apart: Sequence[Tensor],
        device: torch.device,
        memory: DeviceMemory,
        copies: Copies,
        pool: HostPool,
    ) -> None:
        self._optimizer, self._segments, self._is_chain = optimizer, segments, is_chain
        self._device, self._memory, self._copies, self._pool = device, memory, copies, pool
        self.groups: dict[tuple[Kind, int], Group] = {}
        self._carried: Storages = {}
        self._foreign: set[int] = set()
        self.input_bytes = [0] * len(segments)
        """Of each segment, what it would hold to be computed again, and does not hold anyway."""
        try:
            for i, segment in enumerate(segments):
                self._take_over("weights", i, segment.parameters)
                self._take_over("state", i, list(states_of(optimizer, segment.parameters)))
            staying = [*apart, *constants_of(model), *states_of(optimizer, apart)]
            move_in(staying, device)
        except BaseException:  # as a full host: what was taken would be lost
            self._give_back()
            raise
        for tensor in [*staying, *model.parameters()]:
            memory.note(tensor.untyped_storage())
        self._fixed = {key_of(x) for x in [*model.parameters(), *constants_of(model)]}

    def _take_over(self, kind: Kind, i: int, tensors: Sequence[Tensor]) -> None:
        move_in(tensors, self._device)
        self.groups[kind, i] = group = self._group(pieces_of(tensors), is_lasting=True)
        group.begin_store()
        group.end_store()

    def _group(self, pieces: Sequence[Piece], is_lasting: bool) -> Group:
        return Group(pieces, self._memory, self._copies, self._pool, is_lasting)

    def begin_pass(self, inputs: Sequence[Tensor]) -> None:
        """Forget the activations of the pass before; these inputs are the user's."""
        self.drop_activations()
        self._carried, self._foreign = {}, {key_of(x) for x in inputs}

    def keep(
        self,
        i: int,
        saved: Storages,
        inputs: Sequence[Tensor],
        results: Sequence[Tensor],
        is_moved: bool,
    ) -> None:
        """Sort what the graph of a segment holds: to be moved, left to the next, or to stay.

        What goes from segment to segment can be moved only in a chain, after its second use.
        """
        ins, outs = {key_of(x) for x in inputs}, {key_of(x) for x in results}
        saved = self._carried | saved if self._is_chain else saved
        stay = self._fixed | outs | (self._foreign if self._is_chain else ins)
        self._carried = {key: storage for key, storage in saved.items() if key in outs}
        if not is_moved:
            return
        moved = {
            key: storage
            for key, storage in saved.items()
            if key not in stay and storage.nbytes() >= SMALL_BYTES
        }
        pieces = [Piece(storage) for storage in moved.values()]
        self.groups["activations", i] = self._group(pieces, is_lasting=False)
        self.input_bytes[i] = sum(
            storage.nbytes()
            for key, storage in {key_of(x): x.untyped_storage() for x in inputs}.items()
            if key in moved or key not in saved.keys() | self._fixed | self._foreign
        )

    def drop_activations(self, segment: int | None = None) -> None:
        """Leave to the graph what it holds, of all segments or of one."""
        for kind, i in list(self.groups):
            if kind == "activations" and segment in (None, i):
                self.groups.pop((kind, i)).release()

    def updated(self, i: int) -> None:
        """Take notice that the optimizer wrote to a segment's weights and states."""
        self.groups["weights", i].soil()
        states = states_of(self._optimizer, self._segments[i].parameters)
        self.groups["state", i].know(pieces_of(states))

    @contextmanager
    def present(self, group: Group) -> Iterator[None]:
        """Have a group on the device, for a while if it is not there anyway."""
        was_resident = group.is_resident
        group.begin_fetch()
        group.flush()
        try:
            yield
        finally:
            if not was_resident:
                group.begin_store()
                group.end_store()

    def profile(self, i: int, activation_bytes: int) -> SegmentProfile:
        """Tell the bytes of a segment."""
        weights = self.groups["weights", i]
        return SegmentProfile(
            name=self._segments[i].name,
            weight_bytes=weights.n_bytes,
            trained_bytes=sum(p.n_bytes for p in weights.pieces if not p.is_constant),
            state_bytes=self.groups["state", i].n_bytes,
            activation_bytes=activation_bytes,
            input_bytes=self.input_bytes[i],
        )

    def rate(self) -> float:
        """Measure copies, bytes a second, with the largest memory there is to copy."""
        pieces = [piece for group in self.groups.values() for piece in group.pieces]
        hosts = [piece.host for piece in pieces if piece.host is not None]
        return rate(self._copies, self._device, max(hosts, key=len)) if hosts else 1e9

    def copied(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Copy all tensors of a tree to the host, a group at a time."""
        leaves = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
        copies: dict[int, Tensor] = {}
        for group in self.groups.values():
            keys = {piece.storage._cdata for piece in group.pieces}
            with self.present(group):
                copies |= {id(x): _on_host(x) for x in leaves if key_of(x) in keys}
        copies |= {id(x): _on_host(x) for x in leaves if id(x) not in copies}
        found: dict[str, Any] = tree_map(lambda leaf: copies.get(id(leaf), leaf), tree)
        return found

    def close(self) -> None:
        """Bring weights and states back; end copies and memory of the host."""
        try:
            self.drop_activations()
            self._give_back()
        finally:
            self._copies.close()
            self._pool.close()

    def _give_back(self) -> None:
        """Bring every group back, also if another one cannot be."""
        with ExitStack() as stack:
            for group in self.groups.values():
                stack.callback(_load_back, group)


def _load_back(group: Group) -> None:
    group.flush()
    group.begin_fetch()
    group.release()


def _on_host(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)
