"""What is written down about a cluster, so that another process can find, ask and end it."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datafeed.cluster.process import Daemon, ProcessId
from datafeed.errors import ClusterError

_FILE = "cluster.json"


@dataclass(kw_only=True)
class ClusterState:
    """One cluster, from before its first daemon starts until its folder is removed."""

    dir: Path
    id: str
    owner: ProcessId | None
    """The process that the cluster must not outlive; None for one that stays."""
    ports: dict[str, int]
    n_datanodes: int
    yarn: bool
    memcached: list[str] = field(default_factory=list)
    """Addresses, as in SERVERS."""
    daemons: list[Daemon] = field(default_factory=list)
    ready: bool = False
    """Everything was started and answered once."""

    @classmethod
    def read(cls, folder: Path) -> "ClusterState | None":
        """Return the state of the cluster in a folder, None where there is none.

        Raises:
            ClusterError: the file is damaged.
        """
        path = folder / _FILE
        try:
            entries = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ClusterError(
                f"{path} is damaged ({error}); end its daemons by hand, then remove {folder}"
            ) from error
        owner = entries.pop("owner")
        daemons = [
            Daemon(d["name"], ProcessId(**d["id"]), Path(d["log"])) for d in entries.pop("daemons")
        ]
        entries["dir"] = Path(entries["dir"])
        return cls(owner=ProcessId(**owner) if owner else None, daemons=daemons, **entries)

    def write(self) -> None:
        """Write it down, whole or not at all."""
        entries = {
            **vars(self),
            "dir": str(self.dir),
            "owner": asdict(self.owner) if self.owner else None,
            "daemons": [
                {"name": d.name, "id": asdict(d.id), "log": str(d.log)} for d in self.daemons
            ],
        }
        part = self.dir / f"{_FILE}.part"
        part.write_text(json.dumps(entries, indent=2))
        os.replace(part, self.dir / _FILE)

    def usable(self) -> bool:
        """Tell whether the cluster came up, all its daemons live, and nobody left it behind."""
        owned = self.owner is None or self.owner.alive()
        return self.ready and owned and all(d.alive() for d in self.daemons)
