#!/bin/sh
# writers.sh [FOLDER]: an environment of its own for the writers of data sets that `datafeed bench
# stage` is measured beside and that users do not need: MosaicML Streaming's and LitData's. Quick
# where it is there. Default: build/peers/writers below the project, where the benchmark looks.
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-build/peers/writers}
[ ! -e "$folder/.stamp" ] || exit 0

mkdir -p "$folder"
"${PYTHON:-python3}" -m venv "$folder"
# Or else they bring the CUDA build of torch, and 6 GB of packages.
grep '^torch==' constraints.txt > "$folder/constraints.txt"
"$folder/bin/python" -m pip install -q --disable-pip-version-check -c "$folder/constraints.txt" \
    torch numpy litdata==0.2.76 mosaicml-streaming==0.13.0 >&2
touch "$folder/.stamp"
