"""Load on a server and what it costs: wrk on one side, /proc on the other."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import proxies

TICKS = os.sysconf("SC_CLK_TCK")  # a second; 100 on Linux, so that CPU time is known to 10 ms

# Printed by wrk itself, in microseconds, instead of the rounded and unit-laden text it shows people.
REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout + e.status, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass
class Round:
    """What one round of load showed."""

    rate: float  # requests a second
    p50: float  # microseconds
    p99: float  # microseconds
    cpu: float  # microseconds a request, user and system, of all the server's processes
    memory: float  # MiB, proportional set size of all the server's processes, at the end


def run(server, headers, connections, threads, seconds, folder):
    """One round. Any error, refusal or answer that is not 2xx or 3xx makes it worthless: `Failure`."""
    script = folder / "report.lua"
    if not script.exists():
        script.write_text(REPORT)
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    command.append(f"http://127.0.0.1:{server.port}{proxies.PATH}")

    before = cpu_seconds(server.process.pid)
    try:
        wrk = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    except subprocess.TimeoutExpired as late:
        raise proxies.Failure(f"wrk against {server.name} did not end within {seconds + 30} s") from late
    spent = cpu_seconds(server.process.pid) - before

    result = next((line.split()[1:] for line in wrk.stdout.splitlines() if line.startswith("RESULT ")), None)
    if wrk.returncode != 0 or result is None:
        raise proxies.Failure(f"wrk against {server.name} failed: {(wrk.stderr or wrk.stdout).strip()[-500:]}")
    requests, duration, errors, p50, p99 = (int(number) for number in result)
    if errors or not requests:
        raise proxies.Failure(f"{server.name}: {errors} of {requests} requests failed")
    return Round(
        rate=requests * 1e6 / duration,
        p50=p50,
        p99=p99,
        cpu=spent * 1e6 / requests,
        memory=memory_bytes(server.process.pid) / 2**20,
    )


def family(pid):
    """A process and all that it started, by the parents in /proc/PID/stat."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(entry.name)):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def cpu_seconds(pid):
    """User and system time of a process and all that it started, threads included."""
    fields = filter(None, (stat(one) for one in family(pid)))
    return sum(int(line[11]) + int(line[12]) for line in fields) / TICKS


def stat(pid):
    """The fields of /proc/PID/stat after the command's name, from `state` on; None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def memory_bytes(pid):
    """Resident memory, with pages that several processes share counted once (proportional set size)."""
    total = 0
    for one in family(pid):
        try:
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total
