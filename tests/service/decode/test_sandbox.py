"""What a process can no longer do once the sandbox is closed. Each check runs in a process of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from tests.waiting import DEADLOCK

ALLOWED = 64 * 1024**2


def in_sandbox(code: str) -> subprocess.CompletedProcess[str]:
    """Runs `code` behind `close_in`; prints the type and number of the error that it ends with."""
    program = f"""
import os, resource, socket, sys, time
from service.decode.sandbox import allow_seconds, close_in
close_in({ALLOWED})
try:
    {code}
except Exception as error:
    print(type(error).__name__, getattr(error, "errno", None), flush=True)
else:
    print("done", flush=True)
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("open('/etc/hostname')", "OSError 24"),
        ("open('/tmp/patchbay-sandbox-test', 'w')", "OSError 24"),
        ("socket.socket()", "OSError 24"),
        ("os.pipe()", "OSError 24"),
        ("os.memfd_create('x')", "OSError 24"),
        # the interpreter itself may give back some of what was mapped when the limit was set
        (f"bytearray({ALLOWED + 8 * 1024**2})", "MemoryError None"),
        ("bytearray(8 * 1024**2)", "done"),
        ("os.write(1, b'')", "done"),
    ],
)
def test_what_is_closed_and_what_is_left(code: str, outcome: str) -> None:
    assert in_sandbox(code).stdout.strip() == outcome


@pytest.mark.parametrize("limit", ["CORE", "FSIZE", "NOFILE", "NPROC"])
def test_limits_are_hard(limit: str) -> None:
    assert in_sandbox(f"print(resource.getrlimit(resource.RLIMIT_{limit}))").stdout.startswith("(0, 0)")


def test_processor_time_is_counted_from_now() -> None:
    result = in_sandbox("allow_seconds(0.0)\n    while True: pass")
    assert result.returncode == -signal.SIGXCPU
    again = in_sandbox(
        "[allow_seconds(5.0) for _ in range(3)]; print(resource.getrlimit(resource.RLIMIT_CPU)[0])"
    )
    assert 6 <= int(again.stdout.split()[0]) < 20


def test_a_child_ends_with_the_process_that_started_it() -> None:
    child = (
        "import os, sys; from service.decode.sandbox import die_with_parent; die_with_parent(int(sys.argv[1])); "
        "print(os.getpid(), flush=True); sys.stdin.read()"
    )
    parent = f"""
import os, subprocess, sys
command = [sys.executable, "-c", {child!r}, str(os.getpid())]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(child.stdout.readline().decode().strip(), flush=True)
os.set_inheritable(child.stdin.fileno(), True)
keeper = subprocess.Popen(["sleep", "30"], pass_fds=(child.stdin.fileno(),))
print(keeper.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        worker = os.pidfd_open(int(process.stdout.readline()))
        keeper = int(process.stdout.readline())
        process.kill()
    waiting = select.poll()
    waiting.register(worker, select.POLLIN)
    # the pipe to the child is held open by another process, so only the signal can end it
    assert waiting.poll(1000 * DEADLOCK)
    os.kill(keeper, signal.SIGKILL)
    os.close(worker)


def test_a_child_whose_parent_is_gone_already_does_not_stay() -> None:
    code = "from service.decode.sandbox import die_with_parent; die_with_parent(1); print('stayed')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "stayed" not in result.stdout
    assert "has gone" in result.stderr
