"""What CONTRIBUTING and the glossary say of files is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md", "docs/feed-format.md"])
def test_files_and_folders_that_pages_name_are_there(page: str) -> None:
    named = re.findall(
        r"`((?:datafeed|trainers|tests|tools)(?:/[\w.]+)+)`", (ROOT / page).read_text()
    )
    missing = [name for name in named if "NAME" not in name and not (ROOT / name).exists()]
    assert missing == []


def test_the_glossary_names_files_of_today() -> None:
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.py)`", (ROOT / "docs/glossary.md").read_text())
    assert named
    assert [name for name in named if not (ROOT / "datafeed" / name).exists()] == []
