"""``python tools/check_words.py [--list WORD]``: private words that stand as identifiers.

Each word has one of the field instead (docs/glossary.md). ``private_words.json`` holds how often a
word still stands in names, attributes, arguments, definitions and file names of ``datafeed`` and
``trainers``; a count may fall, never rise. ``--update`` writes the counts that fell.
"""

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = Path(__file__).with_name("private_words.json")
_TOKEN = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")

INSTEAD = {
    "handover": "queue", "lot": "index batch", "take": "gather op", "takes": "gathers",
    "bring": "page in", "bringer": "page in", "coldness": "cold reads",
    "residence": "chunk source", "dealing": "interleave", "bijection": "permutation",
    "room": "capacity, free bytes, buffer", "rooms": "capacities, buffers",
    "place": "offset, position, server", "places": "offsets, positions",
    "stretch": "byte range, step span, CRC span, segment", "runs": "extents",
    "wire": "transport, protobuf, route", "wires": "routes", "pace": "load shedding",
    "behind": "next tier", "leavable": "shedding", "era": "generation", "had": "seen",
    "junk": "discard", "gravest": "worst", "hopeless": "unreachable", "lacking": "missing",
    "lacks": "missing", "tails": "trailers", "caution": "conservative", "converse": "request",
    "exchange": "pipeline", "hand": "worker process", "servant": "MPI worker",
    "mail": "messages", "letter": "message", "desk": "coordinator", "ledger": "scheduler",
    "twins": "speculative attempts", "asked": "request, options", "early": "prefetch",
    "notes": "markers", "growth": "extension", "grown": "extended", "standing": "existing",
    "fitted": "cast", "joined": "concat", "mixing": "hashing", "choosing": "filters",
    "choice": "subset, filter, action", "choices": "actions", "starvation": "data stall",
    "beginnings": "resume points", "patience": "timeouts", "narrow": "half precision",
    "turn": "pass", "settle": "flush, finalize", "look": "poll, check", "say": "log",
    "tell": "report", "told": "reported",
}  # fmt: skip
"""Private word to what the field says."""


def identifiers(path: Path) -> Iterator[str]:
    """Return all names that a file defines or uses, and its own."""
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg) or (isinstance(node, ast.keyword) and node.arg):
            yield str(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name


def found() -> dict[str, Counter[str]]:
    """Return each private word that stands somewhere, with ``file: identifier`` and how often."""
    places: dict[str, Counter[str]] = {}
    for package in ("datafeed", "trainers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for name in identifiers(path):
                for word in {token.lower() for token in _TOKEN.findall(name)} & INSTEAD.keys():
                    where = f"{path.relative_to(ROOT)}: {name}"
                    places.setdefault(word, Counter())[where] += 1
    return places


def main() -> int:
    """Print what rose, or where a word stands; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", metavar="WORD", help="where a word stands")
    parser.add_argument("--update", action="store_true", help="write the counts that fell")
    options = parser.parse_args()
    places = found()
    if options.list:
        print("\n".join(f"{n:4} {where}" for where, n in places[options.list].most_common()))
        return 0
    counts = {word: sum(where.values()) for word, where in sorted(places.items())}
    allowed = json.loads(ALLOWED.read_text())
    rose = {word: n for word, n in counts.items() if n > allowed.get(word, 0)}
    for word, n in rose.items():
        print(f"{word!r} stands {n} times, {allowed.get(word, 0)} allowed: {INSTEAD[word]}")
    if options.update and not rose:
        ALLOWED.write_text(json.dumps(counts, indent=1) + "\n")
    print(f"words: {sum(counts.values())} uses of {len(counts)} private words are left")
    return 1 if rose else 0


if __name__ == "__main__":
    sys.exit(main())
