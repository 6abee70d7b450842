"""Threads that work ahead of the user give up their core when the user needs it."""

import contextlib
import ctypes
import os
import platform
import struct

__all__ = ["step_back"]

# sched_setattr(2), which C libraries have had for a short time only.
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274, "riscv64": 274}.get(platform.machine())
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, -, runtime, -, -
_SLICE_NS = 50_000_000


def step_back() -> None:
    """Let the calling thread leave its core to a thread of the user's that wakes, on Linux.

    Its share of the cores stays. Two things are asked of the scheduler: not to take the core of
    a thread that runs when this one wakes (``SCHED_BATCH``, sched(7)), and to run in long slices
    (50 ms), which those with the usual ones (a few ms) may cut short, from Linux 6.12 on. Without,
    the user's thread waits up to a tick of the kernel, 4 ms, for a core that copies: see "Threads
    that step back" in docs/design-notes.md. Whoever runs the process at another policy is left
    alone, as is who may not choose.
    """
    with contextlib.suppress(AttributeError, OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            _take_long_slices()


def _take_long_slices() -> None:
    """Kernels before 6.12 take it for nothing."""
    if _SET_ATTRIBUTES is not None:
        nice = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread, on Linux
        wanted = (_ATTRIBUTES.size, os.SCHED_BATCH, 0, nice, 0, _SLICE_NS, 0, 0)
        ctypes.CDLL(None).syscall(_SET_ATTRIBUTES, 0, _ATTRIBUTES.pack(*wanted), 0)
