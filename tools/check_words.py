"""``python tools/check_words.py``: private words that the field's words replaced stay away.

Counts identifiers (names, attributes, arguments, definitions, names of files), split at
underscores and capitals, in ``datafeed`` and ``trainers``. ``--list [WORD]`` shows where they are.
"""

import argparse
import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from words import REMAINING, RULES, Rule

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("datafeed", "trainers")
TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class Hit(NamedTuple):
    """An identifier that holds a private word, and where it stands."""

    word: str
    path: str
    line: int
    name: str


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each identifier of a module with its line."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name, line
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, line
            case ast.AsyncFunctionDef(name=name) | ast.keyword(arg=str(name)):
                yield name, line
            case ast.alias(asname=str(name)):
                yield name, line


def is_hit(rule: Rule, name: str, path: str) -> bool:
    """Return whether a name holds the word of a rule where it is not the field's own.

    A word with a capital is private only as a class; a lower-case one in any spelling.
    """
    tokens = TOKEN.findall(name)
    tokens = tokens if rule.word[0].isupper() else [token.lower() for token in tokens]
    if rule.word not in tokens:
        return False
    return not any(fnmatch(name, own) or fnmatch(path, own) for own, _ in rule.own)


def hits() -> Iterator[Hit]:
    """Yield every private word of both packages."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            where = str(path.relative_to(ROOT))
            for name, line in [(path.stem, 0), *identifiers(ast.parse(path.read_text()))]:
                for rule in RULES:
                    if is_hit(rule, name, where):
                        yield Hit(rule.word, where, line, name)


def show(found: list[Hit], word: str) -> None:
    """Print where each private word stands, or one of them."""
    for hit in found:
        if word in ("all", hit.word):
            print(f"{hit.path}:{hit.line}: {hit.name}")


def faults(found: list[Hit]) -> Iterator[str]:
    """Say which words stand more often than ``REMAINING`` allows; most may not stand at all."""
    counts = Counter(hit.word for hit in found)
    for rule in RULES:
        n, allowed = counts[rule.word], REMAINING.get(rule.word, 0)
        if n > allowed:
            yield f"{rule.word}: {n} identifiers, {allowed} at most; say {rule.say}"
        elif n < allowed:
            print(f"{rule.word}: {n} left; lower REMAINING from {allowed} in tools/words.py")


def main() -> int:
    """Print what is wrong; return the exit status."""
    parser = argparse.ArgumentParser(description="Count private words in identifiers.")
    parser.add_argument("--list", nargs="?", const="all", metavar="WORD", help="show where")
    arguments = parser.parse_args()
    found = list(hits())
    if arguments.list:
        show(found, arguments.list)
    wrong = list(faults(found))
    left = ", ".join(f"{word} {n}" for word, n in REMAINING.items())
    print("\n".join(wrong) or f"words: no private word came back; still to go: {left or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
