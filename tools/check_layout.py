"""``python tools/check_layout.py``: no folder of more than 12 files, no circle of modules.

Imports under TYPE_CHECKING and inside functions count as well.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("datafeed", "trainers")
MOST_FILES = 12


def crowded() -> Iterator[str]:
    """Name folders that hold more source files than a reader takes in at a look."""
    for package in PACKAGES:
        for folder in sorted({path.parent for path in (ROOT / package).rglob("*.py")}):
            n = len(list(folder.glob("*.py")))
            if n > MOST_FILES:
                yield f"{folder.relative_to(ROOT)}: {n} files, {MOST_FILES} at most; make rooms"


def modules() -> dict[str, Path]:
    """Map the dotted name of each module to its file."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Return the modules of ours that a file imports, itself left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return {module for module in found if module in known and module != name}


def circles() -> Iterator[str]:
    """Name a circle of modules that import each other, if there is one."""
    known = modules()
    graph = {name: imports(name, path, known) for name, path in known.items()}
    graph["datafeed"] = set()  # it loads its names lazily, those named for type checkers
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield "a circle of imports: " + " <- ".join(error.args[1])


def main() -> int:
    """Print what is wrong; return the exit status."""
    faults = [*crowded(), *circles()]
    print("\n".join(faults) or "layout: no crowded folder, no circle")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
