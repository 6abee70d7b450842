"""Where offloaded bytes lie: the host's memory, or a mapped file."""

import mmap
import os
import tempfile
from pathlib import Path
from typing import IO, Protocol

import torch
from torch import Tensor

from datafeed.errors import TrainerError

__all__ = ["HostMemory", "HostPool", "MappedFile", "PlainMemory"]

_EXTENT_BYTES = 64 << 20
_ALIGNED = 4096


class HostMemory(Protocol):
    """Makes memory of the host."""

    def make(self, n_bytes: int) -> Tensor:
        """Make a flat uint8 tensor of the host."""

    def close(self) -> None:
        """Make no more; twice is fine."""


class PlainMemory:
    """The host's own memory.

    Args:
        is_pinned: Lock it, so that a GPU copies without waiting.
    """

    def __init__(self, is_pinned: bool) -> None:
        self._is_pinned = is_pinned

    def make(self, n_bytes: int) -> Tensor:
        """Make a flat uint8 tensor.

        Raises:
            TrainerError: there is no such room.
        """
        try:
            return torch.empty(n_bytes, dtype=torch.uint8, pin_memory=self._is_pinned)
        except RuntimeError as error:
            raise TrainerError(
                f"out of core: the host has no {n_bytes:,} bytes left for offloaded tensors; "
                "name a folder of a disk with spill="
            ) from error

    def close(self) -> None:
        """Do nothing: memory goes with its tensors."""


class MappedFile:
    """Memory that the kernel writes to a file without a name, which goes with this process.

    Args:
        folder: Of a disk with room; the file never has a name there, or loses it at once.

    Raises:
        TrainerError: nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise self._error(error) from error
        self._file: IO[bytes] | None = file
        self._size = 0
        self._extent: Tensor | None = None

    def make(self, n_bytes: int) -> Tensor:
        """Cut a flat uint8 tensor off the mapping; the file grows by ever larger extents.

        Raises:
            TrainerError: the disk is full.
        """
        taken = -(-n_bytes // _ALIGNED) * _ALIGNED
        if self._extent is None or len(self._extent) < taken:
            self._extent = self._grow(max(taken, _EXTENT_BYTES, self._size // 4), taken)
        piece, self._extent = self._extent[:n_bytes], self._extent[taken:]
        return piece

    def _grow(self, wanted: int, needed: int) -> Tensor:
        """Reserve blocks of the disk first: a full one would end the process at a mere write."""
        assert self._file is not None
        wanted = -(-wanted // _ALIGNED) * _ALIGNED
        for n_bytes in dict.fromkeys((wanted, needed)):
            try:
                os.posix_fallocate(self._file.fileno(), self._size, n_bytes)
                break
            except OSError as error:
                failure = error
        else:
            raise self._error(failure) from failure
        mapped = mmap.mmap(self._file.fileno(), n_bytes, offset=self._size)
        self._size += n_bytes
        return torch.frombuffer(mapped, dtype=torch.uint8)

    def _error(self, error: OSError) -> TrainerError:
        return TrainerError(
            f"{self._folder}: offloaded tensors cannot be written there ({error.strerror}); make "
            "room, or name another folder with spill="
        )

    def close(self) -> None:
        """Close the file; its blocks are free when the last tensor is gone; twice is fine."""
        self._extent = None
        if self._file is not None:
            self._file.close()
            self._file = None


class HostPool:
    """Memory of the host, kept for further use: the same sizes are asked for in every step.

    Args:
        memory: Makes what is not there; closed with this pool.
    """

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self._free: dict[int, list[Tensor]] = {}

    def take(self, n_bytes: int) -> Tensor:
        """Return a flat uint8 tensor with any content."""
        free = self._free.get(n_bytes)
        return free.pop() if free else self._memory.make(n_bytes)

    def give(self, buffer: Tensor) -> None:
        """Take one back."""
        self._free.setdefault(len(buffer), []).append(buffer)

    def close(self) -> None:
        """Let go of all that is free; twice is fine."""
        self._free = {}
        self._memory.close()
