"""The main job over real hosts: HDFS, YARN or Spark, memcached and mpirun over ssh."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.containers import compose
from tests.cluster.containers.compose import NAMENODE, SERVERS, TRAINERS

pytestmark = pytest.mark.timeout(900)

IMAGES = Path("/usr/share/datasets/fashion-mnist")
DEMO = "/build/src/examples/demo.py"
ENVIRONMENTS: dict[str, list[str]] = {
    "hadoop": [],
    "spark": ["DATAFEED_SPARK_MASTER=spark://spark-master:7077"],
}


@pytest.fixture(scope="module")
def images() -> None:
    """Fashion-MNIST on the gateway."""
    compose.run("gateway", "mkdir", "-p", "/usr/share/datasets", user="root")
    compose.docker("cp", str(IMAGES.resolve()), f"{compose.container('gateway')}:{IMAGES}")


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("engine", "n_epochs", "accuracy"), [("hadoop", 2, 0.87), ("spark", 1, 0.8)]
)
def test_main_job(engine: str, n_epochs: int, accuracy: float) -> None:
    hosts = ",".join(f"{host}:1" for host in TRAINERS)
    root = f"{NAMENODE}/main-{engine}"
    command = ["python3", DEMO, "--namenode", root, "--cache", SERVERS, "--hosts", hosts]
    command += ["--engine", engine, "--epochs", str(n_epochs)]
    environment = ["env", *ENVIRONMENTS[engine]]
    result: dict[str, Any] = json.loads(
        compose.run("gateway", *environment, *command, limit_s=840).splitlines()[-1]
    )
    assert result["samples"] == 60000
    assert (result["ranks"], result["hosts"]) == (2, 2)
    assert result["stage_engine"] == engine
    assert result["cache_hit_percent"] > 99
    assert result["damaged"] == []
    assert result["test_accuracy"] >= accuracy
    if engine == "hadoop":
        assert result["yarn_application_id"].startswith("application_")
