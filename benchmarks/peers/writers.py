"""``python writers.py JOB SHARD FOLDER``: one peer of ``bench stage``, in its own environment.

Speaks as ``datafeed.bench.staging.stage_worker`` does. Python's tarfile reads the shard for both,
from the
page cache; what they write is not made durable, as ours is.
"""

import json
import shutil
import sys
import tarfile
import types
from importlib.machinery import ModuleSpec
from importlib.metadata import version


def _samples(shard):
    """Return the samples of a tar of pairs NAME.bin, NAME.cls."""
    with tarfile.open(shard) as tar:
        data = b""
        for member in tar:
            content = tar.extractfile(member).read()
            if member.name.endswith(".bin"):
                data = content
            else:
                yield {"data": data, "label": int(content)}


def _mosaic(shard, folder):
    # It wants torchvision for the name of one function, which raw samples never need.
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional",
             "torchvision.datasets")  # fmt: skip
    for name in names:
        stub = sys.modules[name] = types.ModuleType(name)
        stub.__spec__, stub.__path__ = ModuleSpec(name, None), []
        stub.to_tensor, stub.VisionDataset = None, object
    from streaming import MDSWriter

    columns = {"data": "bytes", "label": "int"}
    with MDSWriter(out=folder, columns=columns, size_limit=64 << 20) as writer:
        for sample in _samples(shard):
            writer.write(sample)


def _litdata(shard, folder):
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(folder, chunk_bytes=64 << 20)
    for i, sample in enumerate(_samples(shard)):
        writer[i] = sample
    writer.done()
    writer.merge(num_workers=1)


JOBS = {"mosaicml-streaming": _mosaic, "litdata": _litdata}


def main(job, shard, folder):
    """Do as stdin says."""
    answers = {
        "clean": lambda: shutil.rmtree(folder, ignore_errors=True),
        "go": lambda: JOBS[job](shard, folder),
        "ready": lambda: None,
    }
    for line in sys.stdin:
        answers[line.strip()]()
        print(json.dumps({"done": None}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "version":
        print(version(sys.argv[2]))
    else:
        main(*sys.argv[1:])
