"""The grader's side of an answer's process: start it behind fences, call it, end it.

One warm process serves a whole class; each answer is a child of it, forked behind fences of its own
(`answering`, `fences`). What comes back is read as numbers, arrays and weights, never unpickled: an
answer can give a wrong value, but no verdict. docs/grading.md says what is kept from a hostile
answer on which system.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from . import fences
from .answering import LIMITS, read, unpack, write

THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
TO_START = 300  # seconds; a loaded machine imports slowly
GRACE = 60  # seconds after which even a process that should have been ended is given up


class Crashed(RuntimeError):
    """The answer's process ended; the message says how."""


class TimedOut(RuntimeError):
    """The answer's time was up."""


class Remote(RuntimeError):
    """The answer raised an error; the message names it."""


class Missing(RuntimeError):
    """The hand-in holds no such answer; the message says why, where there is a reason."""


class NotStarted(RuntimeError):
    """No process was there for the answer: a fault of the system's, not of the hand-in's."""


@functools.cache
def way() -> tuple[str, ...]:
    """The words that put a process behind namespaces of its own; empty where they are refused."""
    unshare = shutil.which("unshare")
    for words in fences.WAYS if unshare else ():
        command = [str(unshare), *words, sys.executable, "-c", "pass"]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            # So many seconds end what hangs: a slow machine is not one that refuses.
            if words and not subprocess.run(command, capture_output=True, timeout=300).returncode:
                return (str(unshare), *words)
    return ()


class Sandbox:
    """A warm process, and one answer at a time in a child of it."""

    def __init__(self, seconds: float, memory_gb: float) -> None:
        self.seconds, self.memory_gb = seconds, memory_gb
        self.process: subprocess.Popen[bytes] | None = None
        self.standing: dict[str, bool] = {}
        self.line: socket.socket | None = None

    def guarantees(self) -> str:
        """What holds on this machine, in one line. Raises NotStarted."""
        self._warm_up()
        words = fences.describe(**self.standing)
        no_network = not self.standing["calls"] and "--net" in way()
        return f"{words} (no network)" if no_network else words

    def begin(
        self, cells: list[str], name: str, lesson: list[str] | None = None, whole: bool = False
    ) -> dict:
        """Run what the answer `name` needs of the cells in a fresh process; its time counts.

        Returns the program's digest and the answer's fingerprint (`slicing`). Raises Missing,
        Remote, Crashed, TimedOut or NotStarted.
        """
        self._fork()
        self._open_line()
        task = {"cells": cells, "lesson": lesson or [], "name": name, "whole": whole}
        self._send(task)
        reply = self._receive()
        if "missing" in reply:
            raise Missing(str(reply["missing"])[:200])
        return reply

    def call(self, *arguments: Any) -> Any:
        """Call the function; arguments that it changed in place are changed here, too."""
        self._send({"call": base64.b64encode(pickle.dumps(arguments)).decode()})
        reply = self._receive()
        like = next((each for each in arguments if isinstance(each, nn.Module)), None)
        try:
            for place, content in reply["changed"].items():
                _overwrite(arguments[int(place)], unpack(content, like), place in reply["moved"])
            return unpack(reply["result"], like)
        except Exception as error:  # whatever a hostile answer may have packed
            raise Remote(f"a result that cannot be read ({type(error).__name__})") from None

    def end(self) -> str:
        """The answer's process goes; how it ended, in words."""
        if self.line is None:
            return ""
        with contextlib.suppress(OSError):
            self.line.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.stream.close()
        self.line.close()
        self.line = None
        if not hasattr(os, "fork"):
            return self._end_without_fork()
        try:
            self.control.sendall(b".")
            return str(read(self.replies)["ended"])
        except (OSError, EOFError, ValueError, LookupError):
            self.close()
            return "the warm process is gone"

    def close(self) -> None:
        """End the warm process, and with it all that it forked."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if os.name == "posix":
            self.replies.close()
            self.control.close()  # it ends by itself, and takes its child and its folder along
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            self.words.close()
        process.kill()
        process.wait()

    # --- the warm process -------------------------------------------------------------------

    def _warm_up(self) -> None:
        """Start the warm process, unless it is there. Raises NotStarted."""
        if self.process is not None and self.process.poll() is None:
            return
        self.close()
        self.control, other = socket.socketpair()
        self.control.settimeout(TO_START)
        self.replies: Any = self.control.makefile("rb")
        try:
            with other:
                self.process = self._start(other.fileno())
            self.standing = read(self.replies)
        except (OSError, EOFError, ValueError) as error:
            said = self._last_words()
            self.close()
            raise NotStarted(said or f"{type(error).__name__}: {error}") from None

    def _start(self, handle: int) -> subprocess.Popen[bytes]:
        self.words = tempfile.TemporaryFile()  # noqa: SIM115 (read after the process has ended)
        return subprocess.Popen(
            [*way(), sys.executable, "-m", "ltcl_helpers.course.answering", str(handle)],
            pass_fds=[handle],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.words,
            env=_environment(),
            start_new_session=True,
        )

    def _last_words(self) -> str:
        """The last line that a process wrote before it ended without being asked."""
        if self.process is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        self.words.seek(0)
        lines = self.words.read().decode(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    # --- the answer's process ---------------------------------------------------------------

    def _fork(self) -> None:
        """Ask for a child that serves on a line of its own."""
        if not hasattr(os, "fork"):
            self._start_without_fork()
            return
        self._warm_up()
        self.line, theirs = socket.socketpair()
        limits = LIMITS.pack(self.seconds, self.memory_gb)
        try:
            with theirs:
                socket.send_fds(self.control, [limits], [theirs.fileno()])
        except OSError as error:
            self.line.close()
            self.line = None
            self.close()
            raise NotStarted(f"the warm process is gone ({error})") from None
        self.control.settimeout(self.seconds + GRACE)

    def _open_line(self) -> None:
        """Wait for the child, which stands behind its fences then. Raises NotStarted."""
        assert self.line is not None
        self.line.settimeout(self.seconds + GRACE)
        self.stream: Any = self.line.makefile("rwb")
        try:
            reply = read(self.stream)
        except (OSError, EOFError, ValueError):
            reply = {}
        if "fenced" not in reply:
            how = self.end()
            raise NotStarted(str(reply.get("fallen", how)))

    def _send(self, message: dict) -> None:
        try:
            write(self.stream, message)
        except (OSError, ValueError):
            self._ended()

    def _receive(self) -> dict:
        try:
            reply = read(self.stream)
            problem = reply.get("raised")
        except (EOFError, ValueError, OSError, AttributeError, MemoryError, RecursionError):
            self._ended()
        if problem == "NotImplementedError":
            raise NotImplementedError
        if problem:
            raise Remote(str(problem)[:300])
        return reply

    def _ended(self) -> None:
        """Raise the error that says how the answer's process ended."""
        how = self.end()
        if how == "timed out":
            raise TimedOut(f"not done after {self.seconds:g} s")
        raise Crashed(f"the process ended ({how})")

    # --- Windows, where nothing can be forked: a process for each answer --------------------

    def _start_without_fork(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="ltcl-answer-")
        self.line, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ltcl_helpers.course.answering"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=_environment(),
        )
        with theirs:
            share = theirs.share(self.process.pid)  # type: ignore[attr-defined]
            self.process.communicate(share)

    def _end_without_fork(self) -> str:
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return "it was ended"


def _environment() -> dict[str, str]:
    """What a process for answers inherits: nothing that it does not need."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    names = ("PATH", "SYSTEMROOT", "LANG", "HOME", "TMPDIR")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return kept | THREADS | {"PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "agg"}


def _overwrite(here: Any, now: Any, moved: bool) -> None:
    """Make an argument what the answer's process made of it, elsewhere in memory if `moved`."""
    if isinstance(here, nn.Module):
        here.load_state_dict(now.state_dict())
    elif moved:
        here.data = now
    elif isinstance(here, Tensor | np.ndarray):
        here[...] = now
    elif isinstance(here, list | dict):
        here.clear()
        here.extend(now) if isinstance(here, list) else here.update(now)
