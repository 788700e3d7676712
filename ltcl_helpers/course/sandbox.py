"""The grader's side of an answer's process: start it behind fences, call it, end it.

What comes back is read as numbers, arrays and weights, never unpickled: an answer can give a wrong
value, but no verdict. docs/teaching.md says what is kept from a hostile answer on which system.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor, nn

from .answering import read, unpack, write

FENCES = (
    "--user",
    "--map-root-user",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount",
    "--mount-proc",
)
THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


class Crashed(RuntimeError):
    """The answer's process ended; the message says how."""


class Remote(RuntimeError):
    """The answer raised an error; the message names it."""


@functools.cache
def fences() -> tuple[str, ...]:
    """The words that put a process behind namespaces of its own; empty where they are refused."""
    unshare = shutil.which("unshare")
    for words in (FENCES, FENCES[:-1], FENCES[:3]) if unshare else ():
        command = [unshare, *words, sys.executable, "-c", "pass"]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            # So many seconds end what hangs: a slow machine is not one that refuses.
            if not subprocess.run(command, capture_output=True, timeout=300).returncode:
                return (unshare, *words)
    return ()


def guarantees() -> str:
    """What holds on this machine, in one line."""
    words = fences()
    held = ["own process", "time limit"] + ["memory limit"] * (os.name == "posix")
    held += ["no network"] * ("--net" in words)
    held += ["sees no other process, reads files but writes none"] * ("--mount" in words)
    missing = "" if "--mount" in words else "; NOT kept from this user's files and processes"
    return ", ".join(held) + missing


class Sandbox:
    """One submission's process. Its functions are called one exercise after the other."""

    def __init__(self, seconds: float, memory_gb: float) -> None:
        self.seconds, self.memory_gb = seconds, memory_gb
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self, statements: str, name: str) -> None:
        """Run statements that define `name` in a fresh process; the time starts to count."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        self.timed_out = False
        self.clock = threading.Timer(self.seconds, self._out_of_time)
        self.clock.start()
        self._send({"statements": statements, "name": name})
        self._receive()

    def call(self, *arguments: Any) -> Any:
        """Call the function; arguments that it changed in place are changed here, too."""
        data = base64.b64encode(pickle.dumps(arguments)).decode()
        self._send({"call": data})
        reply = self._receive()
        like = next((each for each in arguments if isinstance(each, nn.Module)), None)
        try:
            for place, content in reply["changed"].items():
                _overwrite(arguments[int(place)], unpack(content, like), place in reply["moved"])
            return unpack(reply["result"], like)
        except Exception as error:  # whatever a hostile answer may have packed
            raise Remote(f"a result that cannot be read ({type(error).__name__})") from None

    def end(self) -> None:
        """The exercise is done: its process goes, the next one begins with a fresh one."""
        self.clock.cancel()
        with contextlib.suppress(Crashed, Remote, NotImplementedError):
            self._send({"end": True})
            if self._receive() == {"ended": True} and os.name == "posix":
                return
        self.close()

    def close(self) -> None:
        """Kill the process and remove its folder."""
        if self.process is None:
            return
        self._kill()
        for stream in self._pipes():
            with contextlib.suppress(OSError):
                stream.close()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.process = None

    def _start(self) -> None:
        self.close()
        self.folder = tempfile.mkdtemp(prefix="ltcl-answer-")
        package = str(Path(__file__).resolve().parents[2])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        kept = {n: os.environ[n] for n in ("PATH", "SYSTEMROOT", "LANG") if n in os.environ}
        own = {n: self.folder for n in ("HOME", "TMPDIR", "TEMP", "MPLCONFIGDIR")}
        environment = kept | own | THREADS | {"PYTHONPATH": os.pathsep.join(paths)}
        words = [*fences(), sys.executable, "-m", "ltcl_helpers.course.answering"]
        self.process = subprocess.Popen(
            [*words, self.folder, str(self.memory_gb), str(self.seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
        )
        waiting = threading.Timer(120, self._kill)  # a loaded machine imports slowly
        waiting.start()
        try:
            self._receive()
        finally:
            waiting.cancel()

    def _out_of_time(self) -> None:
        self.timed_out = True
        self._kill()

    def _kill(self) -> None:
        """End the process with all that it started (behind a fence) or its group."""
        process = self.process
        if process is None:  # a timer may come as late as this
            return
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """To the process and from it, once it is started."""
        process = self.process
        assert process and process.stdin and process.stdout
        return process.stdin, process.stdout

    def _send(self, message: dict) -> None:
        to_it, _ = self._pipes()
        try:
            write(to_it, message)
        except (OSError, ValueError):
            raise Crashed("the process has ended") from None

    def _receive(self) -> dict:
        _, from_it = self._pipes()
        try:
            reply = read(from_it)
            problem = reply.get("raised") or reply.get("died")
        except (EOFError, ValueError, OSError, AttributeError, MemoryError, RecursionError):
            self._kill()
            raise Crashed("the process has ended") from None
        if reply.get("died"):
            self._kill()
            raise Crashed(str(problem)[:200])
        if problem == "NotImplementedError":
            raise NotImplementedError
        if problem:
            raise Remote(str(problem)[:200])
        return reply


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
