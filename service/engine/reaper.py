"""Runs a command that must not outlive whoever started it: `python -I -S reaper.py [--remove FILE]… GRACE COMMAND…`.

vLLM is a tree of processes, and killing its root leaves the others running. The reaper runs the command in its own
process group and watches two things: the command, and its own standard input, a pipe whose other end the starter
holds and which therefore closes when the starter ends, even by `kill -9`. When either ends, or a SIGTERM arrives, the
tree is asked to stop, and killed GRACE seconds later. The reaper itself exits last, with the command's exit status
(128 + n for signal n): once it has exited, no process of the tree is left.

The starter keeps each FILE locked (`man 2 flock`) while it lives. If it was killed, the reaper removes what it left.

A program of its own that uses the standard library only. On Linux orphaned descendants become its children
(PR_SET_CHILD_SUBREAPER, `man 2 prctl`).
"""

import contextlib
import ctypes
import fcntl
import os
import selectors
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
STOPPING = {signal.SIGTERM, signal.SIGINT}
LOCK_TRIES, LOCK_PAUSE = 20, 0.05
"""For a starter that is dying: its pipe may close a moment before its files do."""


class Reaper:
    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.command: int | None = None
        """Process id of the command while it runs."""
        self.status = 0
        self.starter_gone = False
        self.deadline: float | None = None
        """When the tree will be killed, once it has been asked to stop."""

    def run(self, command: list[str]) -> int:
        """Returns the command's exit status when no process of its tree is left."""
        signals = wakeup()
        null = (os.POSIX_SPAWN_OPEN, sys.stdin.fileno(), os.devnull, os.O_RDONLY, 0)
        self.command = os.posix_spawnp(command[0], command, os.environ, file_actions=[null])
        with selectors.DefaultSelector() as events:
            events.register(sys.stdin, selectors.EVENT_READ)
            events.register(signals, selectors.EVENT_READ)
            while self.anyone_left():
                ready = {key.fileobj for key, _ in events.select(self.seconds_left())}
                if sys.stdin in ready and not os.read(sys.stdin.fileno(), 4096):
                    events.unregister(sys.stdin)
                    self.starter_gone = True
                    self.stop()
                if signals in ready and STOPPING & set(os.read(signals, 4096)):
                    self.stop()
                if self.deadline is not None and time.monotonic() >= self.deadline:
                    kill_group()
        return self.status

    def anyone_left(self) -> bool:
        """Reaps every process that has ended. When the command has, the ones it left behind are asked to stop."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.command:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code
                self.command = None
                self.start_clock()
                os.killpg(0, signal.SIGTERM)

    def stop(self) -> None:
        """Asks the command to stop, and leaves stopping the rest of the tree, in order, to it."""
        if self.command is not None:
            self.start_clock()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.command, signal.SIGTERM)

    def start_clock(self) -> None:
        if self.deadline is None:
            self.deadline = time.monotonic() + self.grace

    def seconds_left(self) -> float | None:
        # after the deadline it looks again every 50 ms: a process may have forked while it was being killed
        return None if self.deadline is None else max(0.05, self.deadline - time.monotonic())


def kill_group() -> None:
    """Kills every process in this group except this one, which stays to reap them."""
    if not os.path.isdir("/proc/self"):
        os.killpg(0, signal.SIGKILL)
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(ProcessLookupError):
            if pid != os.getpid() and os.getpgid(pid) == os.getpgrp():
                os.kill(pid, signal.SIGKILL)


def remove_orphan(path: str) -> None:
    """Removes a file that nobody holds locked. Only the holder of a file's lock may change what its path names."""
    for _ in range(LOCK_TRIES):
        try:
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    os.unlink(path)
            return
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
        except FileNotFoundError:
            return


def wakeup() -> int:
    """A file descriptor from which signal numbers can be read as they arrive."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (*STOPPING, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return woken


def main() -> None:
    arguments, files = sys.argv[1:], []
    while arguments[0] == "--remove":
        files.append(arguments[1])
        del arguments[:2]
    grace, *command = arguments
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # the whole group will be killed, so it must be ours alone
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    reaper = Reaper(float(grace))
    status = reaper.run(command)
    if reaper.starter_gone:
        for file in files:
            remove_orphan(file)
    sys.exit(status)


if __name__ == "__main__":
    main()
