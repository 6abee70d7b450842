#!/bin/sh
# Slurm Prolog (slurm.conf: Prolog=..., PrologFlags=Alloc): a memcached of the job's own on each of
# its nodes, for jobs that ask for it by `sbatch --constraint=cache`. slurm-epilog.sh ends it.
#
# DATAFEED_CACHE_MB      its memory in MiB; default: half of the node's
# DATAFEED_CACHE_PORT    default: 11211
# DATAFEED_CACHE_LISTEN  address; default: the node's name
# DATAFEED_CACHE_RUN     folder of the pid file; default: /run/datafeed-cache
set -eu

case "${SLURM_JOB_CONSTRAINTS:-}" in
*cache*) ;;
*) exit 0 ;;
esac

folder=${DATAFEED_CACHE_RUN:-/run/datafeed-cache}
half_mb=$(awk '/^MemTotal/ { print int($2 / 2048) }' /proc/meminfo)
pid_file=$folder/$SLURM_JOB_ID.pid

# memcached writes its pid file as the job's user.
install -d -m 755 "$folder"
install -o "$SLURM_JOB_USER" -m 644 /dev/null "$pid_file"
# Without stdin, stdout and stderr, or slurmd would wait for them.
memcached -d -u "$SLURM_JOB_USER" -P "$pid_file" \
    -M -m "${DATAFEED_CACHE_MB:-$half_mb}" -t 8 -c 4096 -R 100 -U 0 \
    -l "${DATAFEED_CACHE_LISTEN:-$(hostname -s)}" -p "${DATAFEED_CACHE_PORT:-11211}" \
    </dev/null >/dev/null 2>&1
