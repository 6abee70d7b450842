"""How many bytes of the device are in use: counted on a CPU, asked of the allocator on a GPU."""

import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from datafeed.errors import TrainerError

__all__ = ["CountedMemory", "CudaMemory", "DeviceMemory", "memory_of"]


class DeviceMemory(Protocol):
    """Bytes of a device."""

    budget_bytes: int | None
    """More than that raises; None: only count."""

    def level(self) -> int:
        """Return the bytes in use now."""

    def peak(self) -> int:
        """Return the most bytes in use since ``mark``."""

    def mark(self) -> None:
        """Forget the peak so far."""

    def note(self, storage: torch.UntypedStorage) -> None:
        """Take notice of memory of the device that is new or has another size now."""

    def watch(self) -> AbstractContextManager[Any]:
        """Take notice of all memory that torch makes in the body."""


class CountedMemory:
    """A CPU's memory that stands for a device's: every tensor made while watched is counted.

    Args:
        budget_bytes: Most bytes; None: no limit.
    """

    def __init__(self, budget_bytes: int | None = None) -> None:
        self.budget_bytes = budget_bytes
        self._sizes: dict[int, int] = {}
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._level = self._peak = 0

    def level(self) -> int:
        """Return the bytes counted now."""
        return self._level

    def peak(self) -> int:
        """Return the most bytes counted since ``mark``."""
        return self._peak

    def mark(self) -> None:
        """Forget the peak so far."""
        self._peak = self._level

    def note(self, storage: torch.UntypedStorage) -> None:
        """Count memory that is new, or has another size now.

        Raises:
            TrainerError: all together are above the budget.
        """
        key, n_bytes = storage._cdata, storage.nbytes()
        added = n_bytes - self._sizes.get(key, 0)
        if key not in self._known:
            self._known[key] = weakref.ref(storage, lambda _: self._forget(key))
        self._sizes[key] = n_bytes
        self._level += added
        self._peak = max(self._peak, self._level)
        if added > 0 and self.budget_bytes is not None and self._level > self.budget_bytes:
            raise over_budget(self._level, self.budget_bytes)

    def _forget(self, key: int) -> None:
        del self._known[key]
        self._level -= self._sizes.pop(key)

    def watch(self) -> AbstractContextManager[Any]:
        """Count all memory that torch's operations make in the body, in this thread."""
        return _Watch(self)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, memory: CountedMemory) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._memory = memory

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor) and _has_memory(value):
                self._memory.note(value.untyped_storage())
        return made


def _has_memory(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.layout == torch.strided


class CudaMemory:
    """A CUDA device's memory, as torch's allocator counts it. Not yet run on a GPU.

    Args:
        device: The device.
        budget_bytes: Most bytes of this process; None: no limit but the device's own.
    """

    def __init__(self, device: torch.device, budget_bytes: int | None = None) -> None:
        self.budget_bytes = budget_bytes
        self._device = device

    def level(self) -> int:
        """Return the bytes in use now."""
        return torch.cuda.memory_allocated(self._device)

    def peak(self) -> int:
        """Return the most bytes in use since ``mark``."""
        return torch.cuda.max_memory_allocated(self._device)

    def mark(self) -> None:
        """Forget the peak so far."""
        torch.cuda.reset_peak_memory_stats(self._device)

    def note(self, storage: torch.UntypedStorage) -> None:
        """Compare with the budget; the allocator itself counts.

        Raises:
            TrainerError: more is in use than the budget.
        """
        level = self.level()
        if self.budget_bytes is not None and level > self.budget_bytes:
            raise over_budget(level, self.budget_bytes)

    def watch(self) -> AbstractContextManager[Any]:
        """Do nothing: the allocator counts."""
        return nullcontext()


def over_budget(n_bytes: int, budget_bytes: int) -> TrainerError:
    """Make the error of an allocation beyond the budget."""
    return TrainerError(
        f"out of core: {n_bytes:,} bytes of device memory are needed at once, and budget_bytes is "
        f"{budget_bytes:,}: the batch is larger than the ones that were profiled; train with "
        "batches of one size, or make the trainer anew with the largest"
    )


def memory_of(device: torch.device, budget_bytes: int | None = None) -> DeviceMemory:
    """Return the memory of a device."""
    if device.type == "cuda":
        return CudaMemory(device, budget_bytes)
    return CountedMemory(budget_bytes)
