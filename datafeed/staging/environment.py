"""The Python environment that tasks on other machines need, packed into one archive.

A virtual environment does not relocate; a folder of packages on PYTHONPATH does, as long as the
interpreter there has the same minor version.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import datafeed
from datafeed.errors import ConfigError

__all__ = ["ARCHIVE_FOLDER", "pack_environment"]

ARCHIVE_FOLDER = "datafeed_environment"
_NEEDED = ("numpy", "h5py", "crc32c", "tqdm", "click")
_USEFUL = ("hdfs-native", "pydoop", "fsspec", "pillow", "typing_extensions", "packaging")


def pack_environment(folder: Path, modules: list[Path]) -> Path:
    """Pack datafeed and what staging needs into a ``tar.gz``.

    Args:
        folder: Where the archive goes.
        modules: Files of the user's own modules, put at the top.

    Returns:
        The archive's path; its name tells the versions in it, so that nodes that have it already
        need not unpack it again.

    Raises:
        ConfigError: a package that tasks cannot do without is not installed here.
    """
    found = list(_distributions())
    label = ",".join(f"{d.metadata['Name']}={d.version}" for d in found)
    digest = hashlib.sha256(label.encode()).hexdigest()[:12]
    path = folder / f"datafeed-environment-{digest}.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for installed in found:
            for file in installed.files or []:
                _add(archive, Path(str(installed.locate_file(file))), str(file))
        package = Path(datafeed.__file__).parent
        for source in sorted(package.rglob("*.py")):
            _add(archive, source, str(source.relative_to(package.parent)))
        for module in modules:
            _add(archive, module, module.name)
    return path


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a module; scripts outside the packages folder and caches stay behind."""
    if not name.startswith("..") and "__pycache__" not in name and path.is_file():
        archive.add(path, name)


def _distributions() -> Iterator[Distribution]:
    for name in _NEEDED + _USEFUL:
        try:
            yield distribution(name)
        except PackageNotFoundError as error:
            if name in _NEEDED:
                raise ConfigError(
                    f"package {name} is not installed here; pip install it"
                ) from error
