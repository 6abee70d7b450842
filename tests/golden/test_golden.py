"""Bytes of feeds and blocks, orders and batches are those of golden.json."""

import json
from pathlib import Path

import pytest

from tests.golden import made

GOLDEN = json.loads(made.GOLDEN.read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


def test_parts_and_manifest_are_byte_for_byte_the_same(folder: Path) -> None:
    assert made.written(folder / "feed") == GOLDEN["written"]


def test_blocks_in_memcached_have_the_same_keys_places_and_bytes(folder: Path) -> None:
    assert made.blocks(folder / "feed") == GOLDEN["blocks"]


def test_staging_stores_the_same_bytes_of_each_format(folder: Path) -> None:
    assert made.staged(folder) == GOLDEN["staged"]


def test_orders_are_the_same() -> None:
    assert made.orders() == GOLDEN["orders"]


def test_loaders_hand_out_the_same_batches(folder: Path) -> None:
    assert made.batches(folder / "feed") == GOLDEN["batches"]
