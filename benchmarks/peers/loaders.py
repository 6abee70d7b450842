"""Other loaders over the same samples, each at its best: a program that is told when to run.

    python loaders.py NAME ARRAY FOLDER BATCH_SIZE

ARRAY is a ``.npy`` file of uint8 samples, one a row. Loaders that want a format of their own write
it to FOLDER first, which is not timed. Then each line on stdin, ``check`` or ``run``, is an epoch,
shuffled, and answered by a JSON line with the seconds, the CPU seconds of this process and its
children, the samples and, for ``check``, the sum of all bytes. It ends with stdin. The environment
that it runs in is made by loaders.sh.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

N_WORKERS = 2


class Peer(Protocol):
    """A loader."""

    package: str

    def __init__(self, array: Path, folder: Path, batch_size: int) -> None: ...

    def epoch(self) -> Iterator[Any]:
        """Return all samples once, in batches: tensors or arrays, first axis the sample."""


def samples_of(array: Path) -> Any:
    """Map the samples; writable, because torch warns of arrays that are not."""
    return np.load(array, mmap_mode="c")


class Ffcv:
    """FFCV: compiled gathering in threads, from a file of its own in the page cache."""

    package = "ffcv"

    def __init__(self, array: Path, folder: Path, batch_size: int) -> None:
        from ffcv.fields import NDArrayField
        from ffcv.fields.decoders import NDArrayDecoder
        from ffcv.loader import Loader, OrderOption
        from ffcv.transforms import ToTensor
        from ffcv.writer import DatasetWriter

        samples, path = samples_of(array), str(folder / "samples.beton")
        field = NDArrayField(dtype=np.dtype("uint8"), shape=samples.shape[1:])
        page = max(1 << 23, 1 << (2 * samples.shape[1] - 1).bit_length())
        DatasetWriter(path, {"data": field}, page_size=page, num_workers=1).from_indexed_dataset(
            [(sample,) for sample in samples]
        )
        self._loader = Loader(
            path,
            batch_size=batch_size,
            num_workers=N_WORKERS,
            order=OrderOption.RANDOM,
            os_cache=True,
            drop_last=False,
            pipelines={"data": [NDArrayDecoder(), ToTensor()]},
        )

    def epoch(self) -> Iterator[Any]:
        for (batch,) in self._loader:
            yield batch


class Spdl:
    """SPDL: a pipeline of threads around a function of the user's."""

    package = "spdl-core"

    def __init__(self, array: Path, folder: Path, batch_size: int) -> None:
        self._samples, self._batch_size = samples_of(array), batch_size
        self._epoch = 0

    def epoch(self) -> Iterator[Any]:
        import torch
        from spdl.pipeline import PipelineBuilder

        order = np.random.default_rng(self._epoch).permutation(len(self._samples))
        self._epoch += 1
        batches = [order[i : i + self._batch_size] for i in range(0, len(order), self._batch_size)]

        def load(rows: Any) -> Any:
            return torch.from_numpy(self._samples[rows])

        builder = PipelineBuilder().add_source(batches).pipe(load, concurrency=N_WORKERS)
        pipeline = builder.add_sink(3).build(num_threads=N_WORKERS)
        with pipeline.auto_stop():
            yield from pipeline


class Grain:
    """Grain: a data set of indices, read in threads."""

    package = "grain"

    def __init__(self, array: Path, folder: Path, batch_size: int) -> None:
        self._samples, self._batch_size = samples_of(array), batch_size
        self._epoch = 0

    def epoch(self) -> Iterator[Any]:
        import grain

        self._epoch += 1
        data = grain.MapDataset.source(self._samples).shuffle(seed=self._epoch)
        options = grain.ReadOptions(num_threads=N_WORKERS, prefetch_buffer_size=4 * N_WORKERS)
        yield from data.batch(self._batch_size).to_iter_dataset(options)


class Mosaic:
    """MosaicML Streaming: shards of its own, read by torch's workers."""

    package = "mosaicml-streaming"

    def __init__(self, array: Path, folder: Path, batch_size: int) -> None:
        sys.path.insert(0, str(Path(__file__).parent / "stubs"))
        import streaming
        import torch

        samples, out = samples_of(array), str(folder / "mds")
        columns = {"data": f"ndarray:uint8:{samples.shape[1]}"}
        with streaming.MDSWriter(out=out, columns=columns) as writer:
            for sample in samples:
                writer.write({"data": np.asarray(sample)})
        data = streaming.StreamingDataset(local=out, shuffle=True, batch_size=batch_size)
        self._loader = torch.utils.data.DataLoader(
            data, batch_size, num_workers=N_WORKERS, persistent_workers=True
        )

    def epoch(self) -> Iterator[Any]:
        for batch in self._loader:
            yield batch["data"]


class Litdata:
    """LitData: chunks of its own, read by its own workers."""

    package = "litdata"

    def __init__(self, array: Path, folder: Path, batch_size: int) -> None:
        import litdata
        import torch
        from litdata.streaming.cache import Cache

        samples, out = samples_of(array), folder / "litdata"
        cache = Cache(str(out), chunk_bytes=1 << 26)
        for i, sample in enumerate(samples):
            cache[i] = torch.from_numpy(np.array(sample))
        cache.done()
        cache.merge()
        data = litdata.StreamingDataset(str(out), shuffle=True)
        self._loader = litdata.StreamingDataLoader(
            data, batch_size=batch_size, num_workers=N_WORKERS, persistent_workers=True
        )

    def epoch(self) -> Iterator[Any]:
        yield from self._loader


class Webdataset:
    """WebDataset: tar files, read in sequence by torch's workers, shuffled in a buffer."""

    package = "webdataset"

    def __init__(self, array: Path, folder: Path, batch_size: int) -> None:
        import webdataset as wds

        samples = samples_of(array)
        shards = np.array_split(np.arange(len(samples)), 8)
        for n, rows in enumerate(shards):
            with wds.TarWriter(str(folder / f"shard-{n}.tar")) as tar:
                for i in rows.tolist():
                    tar.write({"__key__": f"{i:08d}", "bin": samples[i].tobytes()})
        urls = str(folder / "shard-{0..7}.tar")
        data = wds.WebDataset(urls, shardshuffle=8, seed=0).shuffle(1000).to_tuple("bin")
        data = data.map_tuple(_array_of).batched(batch_size, partial=True)
        self._loader = wds.WebLoader(
            data, batch_size=None, num_workers=N_WORKERS, persistent_workers=True
        )

    def epoch(self) -> Iterator[Any]:
        for (batch,) in self._loader:
            yield batch


def _array_of(data: bytes) -> Any:
    import torch

    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


class Dali:
    """DALI on the CPU: its reader of tar files, shuffled in a buffer."""

    package = "nvidia-dali-cuda120"

    def __init__(self, array: Path, folder: Path, batch_size: int) -> None:
        from nvidia.dali import fn, pipeline_def, types

        self._n = len(samples_of(array))
        self._batch_size = batch_size
        Webdataset(array, folder, batch_size)
        paths = sorted(map(str, folder.glob("shard-*.tar")))

        @pipeline_def(batch_size=batch_size, num_threads=N_WORKERS, device_id=None)
        def pipeline() -> Any:
            return fn.readers.webdataset(
                paths=paths,
                ext=["bin"],
                dtypes=types.UINT8,
                random_shuffle=True,
                initial_fill=1000,
                name="reader",
                missing_component_behavior="error",
            )

        self._pipeline = pipeline()
        self._pipeline.build()

    def epoch(self) -> Iterator[Any]:
        import torch

        left = self._n
        while left > 0:
            (batch,) = self._pipeline.run()
            whole = torch.from_numpy(batch.as_array())
            yield whole[: min(left, len(whole))]  # its last batch goes on into the next epoch
            left -= len(whole)


PEERS: dict[str, type[Peer]] = {
    "FFCV": Ffcv,
    "SPDL": Spdl,
    "Grain": Grain,
    "Streaming": Mosaic,
    "LitData": Litdata,
    "WebDataset": Webdataset,
    "DALI": Dali,
}


def _cpu_s() -> float:
    """CPU time of this process and of its workers."""
    times = os.times()
    ticks = 0
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    own = times.user + times.system + times.children_user + times.children_system
    return own + ticks / os.sysconf("SC_CLK_TCK")


def _answer(peer: Peer, is_check: bool) -> dict[str, float]:
    n_samples = total = 0
    began_s, cpu_s = time.perf_counter(), _cpu_s()
    for batch in peer.epoch():
        n_samples += len(batch)
        if is_check:
            total += int(np.asarray(batch).sum(dtype=np.int64))
    took_s, cpu_s = time.perf_counter() - began_s, _cpu_s() - cpu_s
    return {"seconds": took_s, "cpu_seconds": cpu_s, "samples": n_samples, "sum": total}


def main(name: str, array: str, folder: str, batch_size: str) -> None:
    """Get ready, say so, and run epochs as told."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the loaders print is no answer
    warnings.simplefilter("ignore")
    try:
        import torch

        torch.set_num_threads(1)
        made = PEERS[name](Path(array), Path(folder), int(batch_size))
        ready = {"version": version(made.package)}
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}), file=out, flush=True)
        return
    print(json.dumps(ready), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(made, line.strip() == "check")), file=out, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
