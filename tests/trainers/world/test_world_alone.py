"""One rank without a launcher: MPI leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os
from trainers.world.world import connect
world = connect()
print(world.size, type(world).__name__, os.environ.get("OMPI_MCA_btl"))
"""


def test_a_single_process_leaves_no_shared_memory() -> None:
    launched = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "SLURM_", "MPI_LOCAL")
    env = {name: value for name, value in os.environ.items() if not name.startswith(launched)}
    before = set(Path("/dev/shm").iterdir())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "1 MpiWorld None\n", done.stderr
    left = {path for path in Path("/dev/shm").iterdir() if path.name.startswith("sm_segment")}
    assert left <= before
