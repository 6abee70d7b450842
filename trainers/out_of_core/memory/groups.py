"""What is moved at once: memory of one segment's weights, optimizer state or activations."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from trainers.out_of_core.memory.copies import Copies, Pair
from trainers.out_of_core.memory.device import DeviceMemory
from trainers.out_of_core.memory.host import HostPool

__all__ = ["Group", "Piece"]


class Piece:
    """One storage of the device; the tensors on it stay, whether its memory is there or not.

    Freed and given back by resizing, as PyTorch FSDP does (Zhao et al., VLDB 2023): views that
    autograd has saved see the memory again when it is back.

    Args:
        storage: The storage.
        is_constant: Nobody writes to it, so the host's copy stays true.
    """

    def __init__(self, storage: torch.UntypedStorage, is_constant: bool = False) -> None:
        self.storage, self.n_bytes, self.is_constant = storage, storage.nbytes(), is_constant
        self.host: Tensor | None = None
        self.is_clean = False
        """Whether the host holds what the device holds."""

    def on_device(self) -> Tensor:
        """Return the memory as a flat uint8 tensor, which knows nothing of autograd."""
        return torch.empty(0, dtype=torch.uint8, device=self.storage.device).set_(self.storage)


class Group:
    """Storages that come and go together.

    Args:
        pieces: They are on the device.
        memory, copies, pool: Of the device, between, and of the host.
        is_lasting: The host keeps its copy while the device has one, too.
    """

    def __init__(
        self,
        pieces: Iterable[Piece],
        memory: DeviceMemory,
        copies: Copies,
        pool: HostPool,
        is_lasting: bool,
    ) -> None:
        self.pieces = list(pieces)
        self._memory, self._copies, self._pool = memory, copies, pool
        self._is_lasting = is_lasting
        self.is_resident = True
        """Whether the device has, gets or still has its memory."""
        self._moving: Any = None

    @property
    def n_bytes(self) -> int:
        """Bytes on the device when it is there."""
        return sum(piece.n_bytes for piece in self.pieces)

    def soil(self) -> None:
        """Take notice that the device's copy was written to."""
        for piece in self.pieces:
            piece.is_clean = piece.is_constant and piece.is_clean

    def know(self, pieces: Iterable[Piece]) -> None:
        """Take notice of what an update wrote: it may have made memory that was not there."""
        known = {piece.storage._cdata: piece for piece in self.pieces}
        self.pieces = [known.get(piece.storage._cdata, piece) for piece in pieces]
        self.soil()

    def begin_store(self) -> None:
        """Begin to copy to the host what it does not have yet."""
        if not self.is_resident:
            return
        self.flush()
        pairs: list[Pair] = []
        for piece in self.pieces:
            if piece.host is None:
                piece.host = self._pool.take(piece.n_bytes)
            if not piece.is_clean:
                pairs.append((piece.host, piece.on_device()))
        self._moving = self._copies.start(pairs)

    def end_store(self) -> None:
        """Free the device's memory when it is copied."""
        if not self.is_resident:
            return
        self.flush()
        for piece in self.pieces:
            piece.is_clean = True
        self.is_resident = False
        self._free()

    def _free(self) -> None:
        for piece in self.pieces:
            piece.storage.resize_(0)
            self._memory.note(piece.storage)

    def begin_fetch(self) -> None:
        """Begin to copy back to the device.

        Raises:
            TrainerError: there is no room; then nothing has changed.
        """
        if self.is_resident:
            return
        try:
            self._moving = self._copies.start(
                [self._landing_memory(piece) for piece in self.pieces]
            )
        except BaseException:
            self._free()
            raise
        self.is_resident = True

    def _landing_memory(self, piece: Piece) -> Pair:
        assert piece.host is not None
        piece.storage.resize_(piece.n_bytes)
        self._memory.note(piece.storage)
        return piece.on_device(), piece.host

    def flush(self) -> None:
        """Wait for the copy under way, if any."""
        if self._moving is not None:
            mark, self._moving = self._moving, None
            self._copies.finish(mark)

    def release(self) -> None:
        """Return the host's memory back; memory of the device stays, if it is there."""
        self.flush()
        for piece in self.pieces:
            if piece.host is not None:
                self._pool.give(piece.host)
            piece.host, piece.is_clean = None, False
        if not self._is_lasting:
            self.pieces = []
