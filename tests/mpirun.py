"""The mpirun that tests start: that of the MPI which mpi4py loads."""

import os
import sys
from pathlib import Path

__all__ = ["IS_OPEN_MPI", "MPIRUN"]

IS_OPEN_MPI = "libmpi.so.12" not in os.environ.get("MPI4PY_LIBMPI", "")
_PROGRAM = os.environ.get("MPIRUN") or str(Path(sys.executable).parent / "mpirun")
MPIRUN = [_PROGRAM, *(["--allow-run-as-root", "--oversubscribe"] if IS_OPEN_MPI else [])]
