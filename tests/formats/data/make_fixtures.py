"""Write the small shards beside this file with the programs that users write theirs with.

Run once, in an environment of its own: pip install tensorflow-cpu polars duckdb fastparquet pandas
Their versions are kept in versions.json. All hold closed-form samples: see the tests.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import tensorflow as tf

HERE = Path(__file__).parent
PROGRAMS = ("tensorflow_cpu", "polars", "duckdb", "fastparquet", "pandas")

_DUCKDB_ROWS = """
SELECT i AS id, concat('name ', i, ' ü') AS name, (i / 2)::FLOAT AS score, range(i % 4) AS tokens
FROM range(50) AS t(i)
"""


def _rows(n: int) -> dict[str, Any]:
    return {
        "id": list(range(n)),
        "name": [f"name {i} ü" for i in range(n)],
        "score": np.arange(n, dtype=np.float32) / 2,
        "tokens": [list(range(i % 4)) for i in range(n)],
    }


def write_parquet() -> None:
    """50 rows by three writers."""
    rows = _rows(50)
    frame = pl.DataFrame(rows, schema_overrides={"score": pl.Float32})
    frame.write_parquet(HERE / "polars.parquet", row_group_size=16)
    duckdb.sql(_DUCKDB_ROWS).write_parquet(str(HERE / "duckdb.parquet"))
    table = pd.DataFrame({name: rows[name] for name in ("id", "name", "score")})
    table.to_parquet(HERE / "fastparquet.parquet", engine="fastparquet", index=False)


def _ints(values: list[int]) -> Any:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values: list[float]) -> Any:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _bytes(values: list[bytes]) -> Any:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _example(i: int) -> Any:
    features = {
        "image": _bytes([bytes([i]) * (i * 10)]),
        "label": _ints([i - 3]),
        "box": _floats([i / 4, i / 2, i, -1.5]),
        "tokens": _ints([i << 40, i]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def _sequence(i: int) -> Any:
    lists = {
        "frame": [_floats([t, t + i]) for t in range(i % 3 + 1)],
        "word": [_ints([t * i]) for t in range(i % 3 + 1)],
    }
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={"id": _ints([i])}),
        feature_lists=tf.train.FeatureLists(
            feature_list={
                name: tf.train.FeatureList(feature=found) for name, found in lists.items()
            }
        ),
    )


def write_tfrecords() -> None:
    """20 records each."""
    for name, compression in (("plain", ""), ("gzip", "GZIP"), ("zlib", "ZLIB")):
        with tf.io.TFRecordWriter(str(HERE / f"{name}.tfrecord"), compression) as writer:
            for i in range(20):
                writer.write(_example(i).SerializeToString(deterministic=True))
    with tf.io.TFRecordWriter(str(HERE / "sequence.tfrecord")) as writer:
        for i in range(20):
            writer.write(_sequence(i).SerializeToString(deterministic=True))


if __name__ == "__main__":
    write_parquet()
    write_tfrecords()
    versions = {name: version(name) for name in PROGRAMS}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")
