"""The model of `datafeed bench scale` beside the cluster: predicted and seen behind slow links.

Needs the twelve memcached hosts of the profile `scale`: `make cluster-scale`.
"""

import json
from typing import Any

import numpy as np
import pytest

from datafeed.bench.loading.scale import Site, demand, step_times
from datafeed.feed.block import Blocks
from datafeed.loading.order.order import Order
from tests.cluster.containers import compose
from tests.cluster.containers.compose import TRAINERS
from tests.cluster.containers.conftest import FIGURES, HERE, ROOT, stage
from tests.cluster.containers.reader import SAMPLE_BYTES
from tests.cluster.containers.watch import Run, follow

pytestmark = pytest.mark.timeout(900)

HOSTS = tuple(f"memcached{i}" for i in range(1, 13))
SERVERS = ",".join(f"{host}:11211" for host in HOSTS)
N_SAMPLES, N_SHARDS, PER_CHUNK, BATCH = 8192, 8, 64, 32
STREAMS, WINDOW = 8, 2
LINK = "25mbit"
LINK_BYTES_S = 25e6 / 8
# Ethernet, IP and TCP headers of a full packet: what is left of a link for data.
PAYLOAD_SHARE = 1448 / 1514
BRIDGE_BYTES_S = 1e9  # nothing holds the hosts of the ranks back
PACE_S = 0.005
# Loads of the two cores that carry all hosts come on top of the model.
NEAR = (0.8, 1.6)


@pytest.fixture(scope="module")
def feed() -> str:
    """Parts of whole chunks, as the model wants them, warm on twelve hosts."""
    for file in ("reader.py", "shards.py"):
        for host in ("gateway", *TRAINERS):
            compose.copy(HERE / file, host)
    raw, to = f"{ROOT}/scale-raw", f"{ROOT}/scale"
    compose.run("gateway", "python3", "/tmp/shards.py", raw, str(N_SAMPLES), str(N_SHARDS))
    stage(f"{raw}/*.tar", to, "--samples-per-chunk", str(PER_CHUNK), "--warm", SERVERS)
    return to


def predicted_s(feed_id: str, n_ranks: int, memory_mb: int) -> float:
    """Ask the model for an epoch, with the real order and the real placement."""
    order = Order(
        [N_SAMPLES // N_SHARDS] * N_SHARDS,
        PER_CHUNK,
        BATCH,
        seed=11,
        streams=STREAMS,
        window=WINDOW,
    )
    in_use = order.chunks_in_use(n_ranks)[1]
    site = Site(
        ranks=n_ranks,
        servers=len(HOSTS),
        link_bytes_s=LINK_BYTES_S * PAYLOAD_SHARE,
        rank_link_bytes_s=BRIDGE_BYTES_S,
        compute_s=PACE_S,
        ahead=max(1, (memory_mb - in_use) * PER_CHUNK * n_ranks // BATCH),
    )
    wanted = demand(order, PER_CHUNK, SAMPLE_BYTES + 8, site, SERVERS.split(","), feed_id)
    assert wanted.n_wrong == 0
    assert Blocks.count(PER_CHUNK * (SAMPLE_BYTES + 8)) == 3
    return float(step_times(wanted, site).sum())


def seen_s(run: Run) -> float:
    """Tell how long the epoch took, from the first question to the last batch."""
    lines = [line for ranks in run.steps.values() for line in ranks.values()]
    return float(
        max(line["at_s"] for line in lines) - min(line["at_s"] - line["wait_s"] for line in lines)
    )


@pytest.fixture(scope="module")
def slow_links(feed: str) -> Any:
    assert feed
    for host in HOSTS:
        compose.limit_rate(host, LINK)
    yield
    for host in HOSTS:
        compose.limit_rate(host, "")


@pytest.fixture(scope="module")
def rows() -> Any:
    """Rows of figures; written when all are there."""
    rows: list[dict[str, Any]] = []
    yield rows
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    FIGURES.with_name("scale.jsonl").write_text(text)


@pytest.mark.usefixtures("slow_links")
@pytest.mark.parametrize("n_ranks", [1, 2, 4, 8])
def test_the_model_beside_the_cluster(feed: str, rows: list[dict[str, Any]], n_ranks: int) -> None:
    memory_mb = 48 // n_ranks
    options = ["--epochs=1", f"--memory-mb={memory_mb}", f"--pace-s={PACE_S}"]
    options += [f"--streams={STREAMS}", f"--window={WINDOW}", f"--global-batch={BATCH}"]
    hosts = TRAINERS[:n_ranks]
    program = ["python3", "/tmp/reader.py", feed, "--cache", SERVERS, *options]
    run = follow(compose.mpirun(program, hosts, n_ranks // len(hosts)))
    assert run.status == 0
    numbers = [
        n for ranks in run.steps.values() for line in ranks.values() for n in line["numbers"]
    ]
    assert np.array_equal(np.sort(numbers), np.arange(N_SAMPLES))
    manifest = json.loads(compose.run("gateway", "hadoop", "fs", "-cat", f"{feed}/feed.json"))
    wanted_s, got_s = predicted_s(manifest["feed_id"], n_ranks, memory_mb), seen_s(run)
    rows.append(
        {
            "benchmark": "scale",
            "row": f"{n_ranks} ranks, 12 servers at {LINK}: an epoch",
            "unit": "s",
            "value": round(got_s, 2),
            "predicted": round(wanted_s, 2),
            "ratio": round(got_s / wanted_s, 3),
            "from_memcached": run.counted("memcached", "hits"),
            "from_parts": run.counted("parts", "hits"),
        }
    )
    assert run.counted("parts", "hits") == 0
    assert NEAR[0] < got_s / wanted_s < NEAR[1], rows[-1]
