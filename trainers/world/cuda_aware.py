"""Whether MPI takes pointers to GPU memory. Not yet run on a GPU."""

import ctypes
import os
from collections.abc import Mapping

__all__ = ["is_cuda_aware"]

_NAME = "DATAFEED_CUDA_AWARE"
_SWITCHES = {"MPICH_GPU_SUPPORT_ENABLED": "1", "MPIR_CVAR_ENABLE_GPU": "1", "MV2_USE_CUDA": "1"}
"""Set by users of Cray MPICH, MPICH and MVAPICH; MPICH's own default does not tell."""


def is_cuda_aware(env: Mapping[str, str] = os.environ) -> bool:
    """Ask the user (``DATAFEED_CUDA_AWARE=1`` or ``0``), then the library; else no.

    A wrong yes is a crash inside MPI, a wrong no costs two copies.
    """
    if env.get(_NAME):
        return env[_NAME] == "1"
    return any(env.get(name) == value for name, value in _SWITCHES.items()) or _open_mpi_says_so()


def _open_mpi_says_so() -> bool:
    try:  # only if it is loaded: opening it anew would bring in another MPI
        library = ctypes.CDLL("libmpi.so.40", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        return bool(library.MPIX_Query_cuda_support())
    except (OSError, AttributeError):
        return False
