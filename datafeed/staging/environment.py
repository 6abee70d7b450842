"""The Python environment that tasks on other machines need, packed into one archive.

A virtual environment does not relocate; a folder of packages on PYTHONPATH does, as long as the
interpreter there has the same minor version.
"""

import sys
import tarfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import datafeed
from datafeed.errors import ConfigError

__all__ = ["ARCHIVE_FOLDER", "pack_environment", "same_python"]

ARCHIVE_FOLDER = "datafeed_environment"
_NEEDED = ("numpy", "h5py", "crc32c", "tqdm", "click")
_USEFUL = ("hdfs-native", "pydoop", "fsspec", "pillow", "typing_extensions", "packaging")


def pack_environment(folder: Path, modules: Mapping[str, Path], *, with_packages: bool) -> Path:
    """Pack what staging tasks import into a ``tar.gz``.

    Args:
        folder: Where the archive goes.
        modules: The user's own modules: name in the archive to file.
        with_packages: Pack datafeed and what it needs as well.

    Returns:
        The archive's path.

    Raises:
        ConfigError: a package that tasks cannot do without is not installed here.
    """
    path = folder / "environment.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for installed in _distributions() if with_packages else ():
            for file in installed.files or []:
                _add(archive, Path(str(installed.locate_file(file))), str(file))
        package = Path(datafeed.__file__).parent
        for source in sorted(package.rglob("*.py")) if with_packages else ():
            _add(archive, source, str(source.relative_to(package.parent)))
        for name, module in modules.items():
            _add(archive, module, name)
    return path


def same_python() -> str:
    """Name of an interpreter that can load what is packed here."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


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
