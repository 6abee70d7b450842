"""How a flat array of gradients is summed over ranks: in pieces, from where its memory is.

Pieces, because Open MPI sums 25 MiB faster as 1 MiB pieces than in one call (they stay in the
caches). MPI never sees a pointer whose stream is still busy.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from trainers.gradients.device_streams import Streams
from trainers.world.half_precision import HALF_PRECISION
from trainers.world.world import World

__all__ = ["DirectRoute", "Route", "StagedRoute"]


class Route(Protocol):
    """Sums arrays of one device over the ranks."""

    def sum(self, flat: Tensor, factor: float, mark: Any) -> None:
        """Replace a flat array by the sum over ranks of ``factor`` times theirs. Collective.

        Args:
            flat: Contiguous, of one axis.
            factor: This rank's weight.
            mark: Of the streams: when the array is filled.
        """


class DirectRoute:
    """Hands the array itself to MPI: memory of the CPU, or of a GPU if MPI is CUDA-aware."""

    def __init__(self, world: World, piece_bytes: int, streams: Streams) -> None:
        self._world, self._piece_bytes, self._streams = world, piece_bytes, streams

    def sum(self, flat: Tensor, factor: float, mark: Any) -> None:
        """Weigh and sum piece by piece."""
        for piece in _pieces(flat, self._piece_bytes):
            with self._streams.beside(mark):
                if factor != 1:
                    piece.mul_(factor)
                weighed = self._streams.mark()
            self._streams.wait(weighed)
            self._world.sum_tensor(piece)


class StagedRoute:
    """Copies pieces through two buffers of the CPU; the next one comes while MPI sums the last."""

    def __init__(self, world: World, piece_bytes: int, streams: Streams) -> None:
        self._world, self._piece_bytes, self._streams = world, piece_bytes, streams
        self._buffers: dict[Any, list[Tensor]] = {}

    def sum(self, flat: Tensor, factor: float, mark: Any) -> None:
        """Weigh, copy down, sum and copy up piece by piece."""
        pieces = list(_pieces(flat, self._piece_bytes))
        arriving = self._download(pieces[0], 0, factor, mark) if pieces else None
        for i, piece in enumerate(pieces):
            assert arriving is not None
            host, down = arriving
            if i + 1 < len(pieces):
                arriving = self._download(pieces[i + 1], i + 1, factor, mark)
            self._streams.wait(down)
            self._world.sum_tensor(host)
            with self._streams.beside():
                piece.copy_(host, non_blocking=True)

    def _download(self, piece: Tensor, i: int, factor: float, mark: Any) -> tuple[Tensor, Any]:
        """Queue a piece's way down; its buffer's last way up is queued before, so it is over."""
        buffer = self._pair(piece)[i % 2][: piece.numel()]
        with self._streams.beside(mark):
            if factor != 1:
                piece.mul_(factor)
            buffer.copy_(piece, non_blocking=True)
            return buffer, self._streams.mark()

    def _pair(self, piece: Tensor) -> list[Tensor]:
        if piece.dtype not in self._buffers:
            n = piece.numel()  # no later piece of this type is longer
            self._buffers[piece.dtype] = [
                self._streams.host_buffer(n, piece.dtype) for _ in range(2)
            ]
        return self._buffers[piece.dtype]


def _pieces(flat: Tensor, piece_bytes: int) -> tuple[Tensor, ...]:
    if not flat.numel():
        return ()
    if flat.dtype in HALF_PRECISION:  # their sums cost a call of Python, and little else
        piece_bytes *= 4
    return torch.split(flat, piece_bytes // flat.element_size() or 1)
