"""Noise made on purpose, on the CPUs of the process that makes it (`taskset` says which).

- `neighbour`: a busy process on each of them all the time;
- `half-way`: from some time on they belong to a competitor at the same priority for 70 ms in every 100: what a slower clock
  would look like;
- `memory`: a process that writes all over half of the free memory, at the memory's pace.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NOISES = ("none", "neighbour", "half-way", "memory")
_BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
_PULSED = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
while True:
    end = time.monotonic() + 0.07
    while time.monotonic() < end: pass
    time.sleep(0.03)
"""
_MEMORY = """
import sys
block = bytearray(int(sys.argv[1]))
page = bytes(range(256)) * 4096
while True:
    for start in range(0, len(block) - len(page), len(page)): block[start:start + len(page)] = page
"""


@contextmanager
def noise(kind: str, half: float, *, again: bool = False) -> Iterator[None]:
    """The noise, as long as the block lasts; it ends with it.

    `half`: seconds after which `half-way` begins; with `again` it stops after as many more, and so on.
    """
    processes: list[subprocess.Popen[bytes]] = []
    lock, over = threading.Lock(), threading.Event()

    def start(code: str, argument: int) -> None:
        with lock:
            if not over.is_set():
                processes.append(subprocess.Popen([sys.executable, "-c", code, str(argument)]))

    def stop() -> None:
        with lock:
            for process in processes:
                process.kill()
                process.wait()
            processes.clear()

    def later() -> None:
        while not over.wait(half):
            for cpu in cpus:
                start(_PULSED, cpu)
            if not again or over.wait(half):
                return
            stop()

    cpus = sorted(os.sched_getaffinity(0))
    waiting = threading.Thread(target=later) if kind == "half-way" else None
    try:
        if kind == "neighbour":
            for cpu in cpus:
                start(_BUSY, cpu)
        elif kind == "memory":
            start(_MEMORY, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
        elif waiting is not None:
            waiting.start()
        yield
    finally:
        over.set()
        if waiting is not None:
            waiting.join()
        stop()
