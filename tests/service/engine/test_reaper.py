"""The reaper on small trees of real processes.

Every process of a tree holds the write end of one pipe, so the pipe ends exactly when the last of them has.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.engine import reaper
from tests.waiting import DEADLOCK

GRANDCHILD = "import os, signal; {deaf}; print('up', flush=True); os.read(int('{forever}'), 1)"
TREE = """
import os, subprocess, sys, signal
{deaf}
child = subprocess.Popen([sys.executable, "-S", "-c", {grandchild!r}], pass_fds={fds}, stdout=subprocess.PIPE)
child.stdout.readline()
{prepare}
print("up", flush=True)
{then}
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


class Tree:
    """A command under a reaper with one child of its own; neither ends by itself unless told to."""

    def __init__(self, prepare: str, then: str, deaf: str, grace: float, flags: tuple[str, ...]) -> None:
        self._alive, alive = os.pipe()
        forever, self._never_written = os.pipe()
        grandchild = GRANDCHILD.format(deaf=deaf or "pass", forever=forever)
        then = then or f"os.read({forever}, 1)"
        fds = (alive, forever)
        code = TREE.format(deaf=deaf, grandchild=grandchild, fds=fds, prepare=prepare, then=then)
        self.reaper = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                reaper.__file__,
                *flags,
                str(grace),
                sys.executable,
                "-S",
                "-c",
                code,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(alive, forever),
            start_new_session=True,
        )
        for fd in (alive, forever):
            os.close(fd)
        assert self.reaper.stdout is not None and self.reaper.stdin is not None
        assert self.reaper.stdout.readline() == b"up\n"

    def wait_until_nobody_is_left(self, seconds: float = DEADLOCK) -> None:
        assert select.select([self._alive], [], [], seconds)[0], "some of the tree is still alive"
        assert os.read(self._alive, 1) == b""

    def status(self) -> int:
        return self.reaper.wait(DEADLOCK)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.reaper.pid, signal.SIGKILL)
        self.reaper.stdin.close()
        self.reaper.stdout.close()
        self.reaper.wait()
        os.close(self._alive)
        os.close(self._never_written)


MakeTree = Callable[..., Tree]


@pytest.fixture
def tree() -> Iterator[MakeTree]:
    made: list[Tree] = []

    def make(*flags: str, prepare: str = "", then: str = "", deaf: str = "", grace: float = 60.0) -> Tree:
        made.append(Tree(prepare, then, deaf, grace, flags))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_everybody_ends_with_the_starter(tree: MakeTree) -> None:
    started = tree()
    started.reaper.stdin.close()  # what the kernel does for a starter that was killed
    started.wait_until_nobody_is_left()
    assert started.status() == 128 + signal.SIGTERM


def test_what_a_killed_starter_left_is_removed(tree: MakeTree, tmp_path: Path) -> None:
    orphan, held, kept = (tmp_path / name for name in ("orphan", "held", "kept"))
    for path in (orphan, held, kept):
        path.touch()
    with held.open() as others:
        fcntl.flock(others, fcntl.LOCK_EX)
        started = tree("--remove", str(orphan), "--remove", str(tmp_path / "absent"), "--remove", str(held))
        started.reaper.stdin.close()
        assert started.status() == 128 + signal.SIGTERM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held", "kept"]


def test_what_a_living_starter_has_stays(tree: MakeTree, tmp_path: Path) -> None:
    path = tmp_path / "arena"
    path.touch()
    assert tree("--remove", str(path), then="os._exit(3)").status() == 3
    assert path.exists()


def test_those_who_do_not_listen_are_killed_after_the_grace(tree: MakeTree) -> None:
    started = tree(deaf=DEAF, grace=0.01)
    started.reaper.stdin.close()
    started.wait_until_nobody_is_left()
    assert started.status() == 128 + signal.SIGKILL


def test_a_sigterm_stops_the_tree(tree: MakeTree) -> None:
    started = tree()
    started.reaper.terminate()
    started.wait_until_nobody_is_left()
    assert started.status() == 128 + signal.SIGTERM


def test_the_command_stops_its_own_tree_in_order(tree: MakeTree) -> None:
    in_order = "signal.signal(signal.SIGTERM, lambda *_: (child.kill(), child.wait(), os._exit(7)))"
    started = tree(prepare=in_order)
    started.reaper.terminate()
    started.wait_until_nobody_is_left()
    assert started.status() == 7


def test_the_ended_commands_children_end_and_its_status_is_told(tree: MakeTree) -> None:
    started = tree(then="os._exit(3)")
    started.wait_until_nobody_is_left()
    assert started.status() == 3


def test_it_ends_after_the_last_of_the_tree(tree: MakeTree) -> None:
    started = tree(then="os._exit(3)", deaf=DEAF, grace=0.01)
    assert started.status() == 3
    started.wait_until_nobody_is_left(seconds=0)


def test_a_killed_command_is_told_by_its_signal(tree: MakeTree) -> None:
    started = tree(then="os.kill(os.getpid(), signal.SIGKILL)")
    started.wait_until_nobody_is_left()
    assert started.status() == 128 + signal.SIGKILL


def test_a_group_of_others_is_left_alone() -> None:
    """Started without a group of its own it makes one, or the kill at its end would reach the starter."""
    command = [sys.executable, "-I", "-S", reaper.__file__, "60", "sleep", "60"]
    starter = f"import subprocess; print(subprocess.run({command}, stdin=subprocess.PIPE).returncode)"
    result = subprocess.run(
        [sys.executable, "-S", "-c", starter], capture_output=True, text=True, start_new_session=True
    )
    assert (result.returncode, result.stdout.split()) == (0, [str(128 + signal.SIGTERM)])


def test_it_needs_no_package() -> None:
    """It runs without site-packages, so that it starts in milliseconds and cannot be broken by one."""
    source = Path(reaper.__file__).read_text()
    assert "from service" not in source and "import service" not in source
