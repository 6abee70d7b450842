"""The same feed and loader in other people's training loops: the scripts of ``examples/`` run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainers.image_feeds import N_CLASSES, write_images

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_images(tmp_path_factory.mktemp("neighbours") / "feed", (330, 319))


def output_of(tmp_path: Path, *command: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command), f"--classes={N_CLASSES}"],
        capture_output=True,
        text=True,
        timeout=220,
        cwd=tmp_path,
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ddp_under_torchrun(feed: str, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    said = output_of(tmp_path, *launcher, EXAMPLES / "ddp_feed.py", "--feed", feed)
    found = re.findall(r"epoch (\d): (\d+) samples, loss ([\d.]+)", said)
    assert [(epoch, n) for epoch, n, _ in found] == [("0", "640"), ("1", "640")]
    assert float(found[1][2]) < float(found[0][2])


@pytest.mark.parametrize("n_devices", [1, 2])
def test_lightning(n_devices: int, feed: str, tmp_path: Path) -> None:
    script = EXAMPLES / "lightning_feed.py"
    said = output_of(tmp_path, script, "--feed", feed, f"--devices={n_devices}")
    assert f"rank 0 of {n_devices}: {1280 // n_devices} samples, loss" in said
