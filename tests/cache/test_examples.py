"""The operator's examples run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from datafeed.cluster.memcached import server_pid
from datafeed.cluster.ports import free_ports
from datafeed.cluster.process import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples" / "cache"


def run(script: str, **environment: str) -> None:
    done = subprocess.run(
        [EXAMPLES / script], env={**os.environ, **environment}, capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr


def test_a_jobs_cache_lives_as_long_as_the_job(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    job = {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_USER": subprocess.run(["id", "-un"], capture_output=True, text=True).stdout[:-1],
        "DATAFEED_CACHE_MB": "64",
        "DATAFEED_CACHE_PORT": str(port),
        "DATAFEED_CACHE_LISTEN": "127.0.0.1",
        "DATAFEED_CACHE_RUN": str(tmp_path / "run"),
    }
    run("slurm-prolog.sh", **job)
    assert server_pid(address) is None  # the job has not asked for it
    run("slurm-epilog.sh", **job)
    run("slurm-prolog.sh", SLURM_JOB_CONSTRAINTS="gpu&cache", **job)
    try:
        assert wait_until(lambda: server_pid(address) is not None, 10)
        written = (tmp_path / "run" / "4711.pid").read_text()
        assert int(written) == server_pid(address)
    finally:
        run("slurm-epilog.sh", **job)
    assert wait_until(lambda: server_pid(address) is None, 10)
    assert list((tmp_path / "run").iterdir()) == []
    run("slurm-epilog.sh", **job)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_the_unit_is_sound(tmp_path: Path) -> None:
    unit = tmp_path / "datafeed-cache.service"
    text = (EXAMPLES / unit.name).read_text()
    memcached = shutil.which("memcached") or "memcached"
    unit.write_text(text.replace("/usr/bin/memcached", memcached))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert said == []
