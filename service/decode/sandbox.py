"""What a decoding process gives up before it sees a stranger's bytes. Linux only.

It cannot open files, sockets or pipes, start programs (where it does not run as root), write files, dump core, or
take more memory and processor time than was set; and it ends with the process that started it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def die_with_parent(parent: int) -> None:
    """Ends this process when the thread that started it ends. Raises SystemExit if `parent` (a process id) has gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the pool that started this worker has gone")


def close_in(memory_bytes: int) -> None:
    """Takes away what decoding does not need; `memory_bytes` is what may be mapped beyond now's. Cannot be undone."""
    with open("/proc/self/statm") as status:
        mapped = int(status.read().split()[0]) * resource.getpagesize()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_AS, mapped + memory_bytes),
        (resource.RLIMIT_NOFILE, 0),  # descriptors that are open already stay usable
    ):
        resource.setrlimit(limit, (value, value))


def allow_seconds(seconds: float) -> None:
    """From now on, this process may use this much processor time, rounded up; the kernel kills it beyond."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime + seconds) + 1, hard))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")
