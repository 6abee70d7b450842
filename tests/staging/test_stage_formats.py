"""From other shards than tar to a feed: settled formats, given fields, ready transforms."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import datafeed
from datafeed.staging.request import plan_request
from tests.staging.made import datafeed as run


def test_a_folder_of_images_of_different_sizes(tmp_path: Path) -> None:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((8 + i, 9 + label, 3), label * 100 + i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "raw" / name / f"{i}.png")
    result = datafeed.stage(
        tmp_path / "raw/*/*",
        tmp_path / "feed",
        transform="datafeed.transforms:resize(4)",
        workers=1,
        progress=False,
    )
    assert result.samples == 6
    with datafeed.open(tmp_path / "feed") as feed:
        assert {name: str(field) for name, field in feed.fields.items()} == {
            "image": "uint8[4, 4, 3]",
            "label": "int64",
        }
        for i in range(6):
            assert feed[i]["label"] == i // 3
            np.testing.assert_array_equal(feed[i]["image"], i // 3 * 100 + i % 3)
        assert feed.origin(4)[1] == "dog/1.png"


def test_texts_are_packed_alike_by_every_run(tmp_path: Path) -> None:
    texts = ["ab" * (i % 7) for i in range(40)]
    lines = [json.dumps({"text": text}) for text in texts]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:25]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[25:]).encode()))
    crcs = []
    for to in ("one", "two"):
        datafeed.stage(
            [tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"],
            tmp_path / to,
            transform='datafeed.transforms:pack( 32, field="text")',
            workers=1,
            progress=False,
        )
        document = json.loads((tmp_path / to / "feed.json").read_text())
        assert document["made"]["plan"]["transform"] == "datafeed.transforms:pack(32, field='text')"
        crcs.append([part["crc32c"] for part in document["parts"]])
    assert crcs[0] == crcs[1]
    with datafeed.open(tmp_path / "one") as feed:
        samples = [feed[i] for i in range(len(feed))]
    tokens = np.concatenate([s["tokens"] for s in samples])
    segments = np.concatenate([s["segments"] for s in samples])
    wanted = b"".join(text.encode() + b"\0" for text in texts)
    assert bytes(np.where(tokens == 256, 0, tokens)[segments > 0].astype(np.uint8)) == wanted


def test_what_a_dry_run_shows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;price\n1;2\n2;3.5\n")
    words = ["stage", tmp_path / "a.csv", "--to", tmp_path / "feed", "--dry-run", "--json"]
    done = run(*words, "--fields", "id:int32")
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["fields"] == {"id": "int32", "price": "float64"}
    assert facts["format"] == (
        "csv(delimiter=';', header=True, types={'id': 'int64', 'price': 'float64'})"
    )
    done = run(*words, "--fields", "id:int99")
    assert done.returncode == 2
    assert "--fields id:int99: no such type; give one as int64" in done.stderr


def test_a_guess_of_the_size_of_a_feed_of_parquet(tmp_path: Path) -> None:
    """Its bytes are read by ranges; a guess far off would make one chunk of all."""
    columns = {"x": np.random.default_rng(0).integers(0, 1 << 60, 200_000)}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    plan = plan_request(tmp_path / "a.parquet", tmp_path / "feed")
    n_bytes = plan.samples_per_chunk * 8 * 64
    assert 0.3 < n_bytes / (200_000 * 8) < 3
