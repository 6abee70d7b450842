#!/bin/sh
# Slurm Epilog: ends the memcached that slurm-prolog.sh has started for the job on this node.
set -eu

pid_file=${DATAFEED_CACHE_RUN:-/run/datafeed-cache}/$SLURM_JOB_ID.pid
[ -s "$pid_file" ] || exit 0
pid=$(cat "$pid_file")
case "$(cat "/proc/$pid/comm" 2>/dev/null)" in
memcached) kill "$pid" ;;
esac
rm -f "$pid_file"
