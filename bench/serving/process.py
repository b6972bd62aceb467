"""What the kernel tells of a process that runs, by its number: CPU time and memory."""

import os
from pathlib import Path


def cpu_s(pid):
    """CPU time of all its threads so far, those that have ended included; not of its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    return status_bytes(pid, "VmRSS")


def peak_bytes(pid):
    """The most that was resident since it began to run its program."""
    return status_bytes(pid, "VmHWM")


def status_bytes(pid, field):
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields[field].split()[0]) * 1024
