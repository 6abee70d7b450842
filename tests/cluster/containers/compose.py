"""The cluster in containers as tests see it: commands on its hosts, and faults."""

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from datafeed.cluster.process import wait_until

PROJECT = os.environ.get("COMPOSE_PROJECT_NAME", "datafeed")
LIMIT_S = 300.0
NAMENODE = "hdfs://namenode:8020"
MEMCACHED = ("memcached1", "memcached2", "memcached3")
SERVERS = ",".join(f"{host}:11211" for host in MEMCACHED)
TRAINERS = ("trainer1", "trainer2")


def docker(*command: str, limit_s: float = LIMIT_S, check: bool = True) -> str:
    """Run the client; returns its stdout.

    Raises:
        AssertionError: it failed, with what it said.
    """
    done = subprocess.run(["docker", *command], capture_output=True, text=True, timeout=limit_s)
    if check:
        assert done.returncode == 0, (
            f"docker {command[:4]}: {done.stdout[-500:]}{done.stderr[-3000:]}"
        )
    return done.stdout


@cache
def container(service: str) -> str:
    """Return the id of a service's container, running or not."""
    labels = {"project": PROJECT, "service": service}
    filters = [f"--filter=label=com.docker.compose.{k}={v}" for k, v in labels.items()]
    found = docker("ps", "-aq", "--no-trunc", *filters).split()
    assert found, f"no container of {service}; is the cluster up? (make cluster-up)"
    return found[0]


def run(service: str, *command: str, limit_s: float = LIMIT_S, user: str = "datafeed") -> str:
    """Run a command on a host to its end; returns its stdout."""
    return docker("exec", "-u", user, container(service), *command, limit_s=limit_s)


def start(service: str, *command: str) -> "subprocess.Popen[str]":
    """Start a command on a host; its stdout is a pipe of lines, its stderr ours."""
    words = ["docker", "exec", container(service), *command]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def mpirun(program: Sequence[str], hosts: Sequence[str] = TRAINERS, slots: int = 1) -> list[str]:
    """Return the command that runs a program on training hosts, from the gateway."""
    named = ",".join(f"{host}:{slots}" for host in hosts)
    ranks = str(len(hosts) * slots)
    return ["mpirun", "--host", named, "--map-by", "slot", "-n", ranks, *program]


def copy(path: Path, service: str) -> str:
    """Copy a file to a host's /tmp; returns its path there."""
    docker("cp", str(path), f"{container(service)}:/tmp/{path.name}")
    return f"/tmp/{path.name}"


def kill(service: str) -> None:
    """End a host at once."""
    docker("kill", container(service))


def pause(service: str) -> None:
    """Stop every process of a host; its addresses stay."""
    docker("pause", container(service))


def unpause(service: str) -> None:
    """Let them go on."""
    docker("unpause", container(service))


def memory_mib(service: str) -> float:
    """Return the memory of a running host's processes, without files' pages (cgroups 1 and 2)."""
    folder = "/sys/fs/cgroup"
    script = f"cat {folder}/memory.stat {folder}/memory/memory.stat 2>/dev/null; true"
    reported = dict(line.split() for line in run(service, "sh", "-c", script).splitlines())
    return int(reported.get("anon") or reported["total_rss"]) / 2**20


def cut_off(service: str) -> None:
    """Take a host off the network."""
    docker("network", "disconnect", "-f", f"{PROJECT}_cluster", container(service))


def rejoin(service: str) -> None:
    """Put a host back on the network, under its name."""
    docker("network", "connect", "--alias", service, f"{PROJECT}_cluster", container(service))


def limit_rate(service: str, rate: str) -> None:
    """Let a host send no faster than this (``100mbit``), by a token bucket; ``""`` ends it."""
    verb = (
        f"add dev $d root tbf rate {rate} burst 64kb latency 200ms" if rate else "del dev $d root"
    )
    # A host that was off the network for a while comes back with a device of another number.
    script = f"cd /sys/class/net && for d in eth*; do tc qdisc {verb} || exit 1; done"
    docker(
        *("run", "--rm", "--user", "root", "--cap-add", "NET_ADMIN", "--entrypoint", "sh"),
        *("--network", f"container:{container(service)}", "datafeed/trainer", "-c", script),
    )


def boot(service: str) -> None:
    """Start a host that was killed, and wait until it is healthy."""
    docker("start", container(service))
    wait_healthy(service)


def reboot(service: str) -> None:
    """Kill a host, start it again, and wait until it is healthy."""
    kill(service)
    boot(service)


def wait_healthy(service: str, limit_s: float = 120.0) -> None:
    """Wait for a host's health check."""
    ask = ("inspect", "-f", "{{.State.Health.Status}}", container(service))
    assert wait_until(lambda: docker(*ask).strip() == "healthy", limit_s, poll_s=0.5), service


def kill_processes(service: str, pattern: str) -> None:
    """Kill, with -9, the processes of a host whose command line has this text."""
    script = (
        "for p in /proc/[0-9]*; do "
        f"tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -v kill | grep -q '{pattern}' "
        "&& kill -9 ${p#/proc/}; done; true"
    )
    run(service, "sh", "-c", script)
