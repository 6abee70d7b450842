#!/bin/sh
#SBATCH --nodes=4 --ntasks-per-node=4 --constraint=cache
# A training job whose nodes are its cache (slurm-prolog.sh): filled first, then trained from.
set -eu

feed=${1:?usage: sbatch slurm-job.sh FEED}
servers=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed 's/$/:11211/' | paste -sd, -)

srun --nodes=1 --ntasks=1 datafeed warm "$feed" --cache "$servers" --workers 8
srun --mpi=pmix python -m trainers.image_classifier --feed "$feed" --cache "$servers"
