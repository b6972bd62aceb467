"""Programs of the tests that must not outlive them, however the tests end: at the end of the block, by Ctrl-C, by SIGKILL.

    tests ──pipe──▶ guard            the guard kills what it was told of when the pipe closes, and the system
      └── children ◀──SIGKILL──┘     closes it when the tests are gone, whatever ended them

This file is also the guard: run as a program it reads `+ pid` and `- pid` from its standard input, and kills at its end.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STOP_S = 30
POLL_S = 0.05
TAIL_BYTES = 4_000


class Failed(Exception):
    """A program that did not start, or did not stop."""


class Guard:
    """Kills the children when the block ends, or when this process does."""

    def __enter__(self):
        self.children = []
        # A session of its own: Ctrl-C in the terminal is for the tests alone.
        command = [sys.executable, str(Path(__file__).resolve())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True)
        return self

    def __exit__(self, *_):
        for process in [process for process in self.children if process.poll() is not None]:
            self.forget(process)
        self.process.stdin.close()
        for process in [self.process, *self.children]:
            process.wait()

    def watch(self, process):
        self.children.append(process)
        self.process.stdin.write(f"+ {process.pid}\n".encode())

    def forget(self, process):
        """It has ended: its id may soon be that of another."""
        if process not in self.children:
            return
        self.children.remove(process)
        self.process.stdin.write(f"- {process.pid}\n".encode())


class Child:
    """One program, started as often as is wanted; what it says goes to one file, over all starts."""

    def __init__(self, name, folder, ready):
        """`ready`: what it says once it can be used."""
        self.name, self.folder, self.ready = name, Path(folder), ready
        self.log = self.folder.with_name(f"{self.folder.name}.log")
        self.process = None
        self.ready_s = 0.0  # what the last start took

    def adopt(self, guard, command):
        """Before the first start: who sees to its end, and what is run."""
        self.guard, self.command = guard, [str(word) for word in command]

    def start(self):
        """Does not wait; `wait_ready` does. One that was started before has ended."""
        if self.process:
            self.guard.forget(self.process)
        self.started = time.monotonic()
        self.log_from = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.guard.watch(self.process)

    def wait_ready(self, seconds_max):
        while self.ready not in self.said():
            if (code := self.process.poll()) is not None:
                raise Failed(f"{self.name} ended with {code} instead of becoming ready:\n{self.tail()}")
            if time.monotonic() > self.started + seconds_max:
                raise Failed(f"{self.name} was not ready within {seconds_max} s:\n{self.tail()}")
            time.sleep(POLL_S)
        self.ready_s = time.monotonic() - self.started

    def stop(self):
        """SIGTERM, and waits; SIGKILL and `Failed` where that does not help."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self.name} did not end within {STOP_S} s of SIGTERM:\n{self.tail()}")
        self.guard.forget(self.process)

    def kill(self):
        """SIGKILL, and waits."""
        self.process.kill()
        self.process.wait()
        self.guard.forget(self.process)

    def pause(self):
        """SIGSTOP: its connections stay open, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def said(self):
        """The log since the last start."""
        with open(self.log, "rb") as log:
            log.seek(self.log_from)
            return log.read().decode(errors="replace")

    def tail(self):
        return f"{self.said()[-TAIL_BYTES:]}\n(all of it: {self.log})"

    def memory_mib(self):
        """What is resident."""
        asked = subprocess.run(["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, text=True, check=True)
        return int(asked.stdout) // 1024


def guard():
    children = set()
    for line in sys.stdin:
        sign, pid = line.split()
        (children.add if sign == "+" else children.discard)(int(pid))
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


if __name__ == "__main__":
    guard()
