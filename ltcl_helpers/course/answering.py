"""The process in which a student's answers run, and how values leave it: as data, never as code.

`python -m ltcl_helpers.course.answering`, started by `sandbox`, loads what answers use, once. For
each answer it forks a child behind fences of its own, which runs the hand-in's statements and calls
its function when asked. It knows no check and gives no verdict; what it says of an answer's end, it
says on a line that no answer can reach.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import copy
import hashlib
import importlib
import json
import os
import pickle
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence, Set
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from . import fences, slicing

KINDS = "biuf"  # of arrays that may cross: bool, whole numbers, floats
MANY: dict[str, Callable[[Iterable], Any]] = {"list": list, "set": set, "iterator": iter}
LONGEST = 16 << 20  # bytes of one message; a right answer has a few thousand


# --- values that cross ----------------------------------------------------------------------


def pack(value: Any) -> Any:
    """A value as JSON: numbers, texts, lists, sets, dicts, arrays, tensors, modules' weights.

    A column of a table becomes an array, a generator an iterator over what it gave.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, nn.Module):
        return {"module": pack(value.state_dict())}
    if hasattr(value, "__array__"):
        kind = "tensor" if isinstance(value, Tensor) else "array"
        if kind == "tensor" and value.requires_grad:
            kind = "tracked"  # a check may ask that a loss carries a gradient
        array = np.asarray(value if kind == "array" else value.detach().cpu())
        if array.dtype.kind in KINDS:
            data = base64.b64encode(array.tobytes()).decode()
            return {kind: [array.dtype.str, list(array.shape), data]}
        if array.ndim or array.dtype.kind in "OU":  # texts, or objects that may be numbers
            return pack(array.tolist())
    if isinstance(value, Real | Decimal):
        return float(value)
    if isinstance(value, dict):
        return {"dict": [[pack(name), pack(each)] for name, each in value.items()]}
    if isinstance(value, Iterable):
        kinds = {Sequence: "list", Set: "set", Iterable: "iterator"}
        kind = next(name for abstract, name in kinds.items() if isinstance(value, abstract))
        return {kind: [pack(each) for each in value]}
    return {"other": type(value).__name__}


def unpack(value: Any, like: nn.Module | None = None) -> Any:
    """The value of `pack`; weights are loaded into a copy of `like`. Raises ValueError."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind in ("array", "tensor", "tracked"):
        dtype, shape, data = np.dtype(content[0]), content[1], base64.b64decode(content[2])
        if dtype.kind not in KINDS:
            raise ValueError(f"an array of type {dtype}")
        array = np.frombuffer(data, dtype).reshape(shape).copy()
        if kind == "array":
            return array[()]  # a number, if it is one
        return torch.from_numpy(array).requires_grad_(kind == "tracked")
    if kind in MANY:
        return MANY[kind](unpack(each, like) for each in content)
    if kind == "dict":
        return {unpack(name): unpack(each, like) for name, each in content}
    if kind == "module" and like is not None:
        module = copy.deepcopy(like)
        module.load_state_dict(unpack(content))
        return module
    return type(str(content)[:40], (), {})()  # nothing that a check could compare


def write(stream: Any, message: dict) -> None:
    """Send one message."""
    data = json.dumps(message).encode()
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def read(stream: Any) -> dict:
    """Wait for one message. Raises EOFError or ValueError where none comes."""
    head = stream.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 0 < length <= LONGEST:
        raise EOFError
    return json.loads(stream.read(length))


# --- the warm process -----------------------------------------------------------------------

USED = """pandas scipy.stats matplotlib.pyplot sklearn.linear_model IPython.core.inputtransformer2
    torch.nn.functional ltcl_helpers.methods.losses ltcl_helpers.methods.memory
    ltcl_helpers.methods.pruning ltcl_helpers.views.simclr ltcl_helpers.data.splits"""


LIMITS = struct.Struct("<dd")  # of a task: seconds, and GB of memory
TO_LEAVE = 1.0  # seconds for a child to end by itself once its line is closed


class Fences(NamedTuple):
    """Which fences stand on this system."""

    root: bool  # a root, mounts and process numbers of its own
    calls: bool  # no system call opens a socket or starts a process


def main(number: str = "") -> None:
    """Serve the grader on this open socket: a child for each answer, until it says no more."""
    if not number:
        _serve_once()
        return
    grader = socket.socket(fileno=int(number))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    torch.set_num_threads(1)
    for name in USED.split():
        with contextlib.suppress(ImportError):  # an answer that wants it will say so
            importlib.import_module(name)
    standing = _standing()
    for stream in (1, 2):  # whatever an answer prints goes nowhere
        os.dup2(nowhere, stream)
    control = grader.makefile("wb")
    write(control, {"root": standing.root, "calls": standing.calls})
    while True:
        words, handles, _, _ = socket.recv_fds(grader, LIMITS.size, 1)
        if not handles:  # the grader has ended
            os._exit(0)  # to take apart all that is loaded takes seconds
        how = _run_one(grader, handles[0], LIMITS.unpack(words), standing)
        write(control, {"ended": how})


def _serve_once() -> None:
    """Where nothing can be forked (Windows): a process for each answer, on a line it is told."""
    line = socket.fromshare(sys.stdin.buffer.read())  # type: ignore[attr-defined]
    torch.set_num_threads(1)
    stream = line.makefile("rwb")
    write(stream, {"fenced": True})  # all that there are
    with contextlib.suppress(EOFError, ValueError):
        serve(stream)
    os._exit(0)


def _standing() -> Fences:
    """Try the fences in children that end at once."""
    root = False
    if sys.platform == "linux" and os.getpid() == 1:  # behind `unshare`
        root = _ends_well(_try_root)
    return Fences(root, _ends_well(_filter_calls))


def _ends_well(work: Callable[[], Any]) -> bool:
    """Whether some work raises no error, tried in a child."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _try_root() -> None:
    fences.own_namespaces()
    _enter(Fences(root=True, calls=False))


def _filter_calls() -> None:
    if not fences.filter_calls():
        raise fences.Fenceless("system calls are not filtered")


def _run_one(
    grader: socket.socket, handle: int, limits: tuple[float, float], standing: Fences
) -> str:
    """Fork the child for one answer and wait for its end; how it ended, in words.

    It ends by itself, at its time, or soon after the grader has sent the byte that says: enough.
    """
    folder = "" if standing.root else tempfile.mkdtemp(prefix="ltcl-answer-")
    child = _fork(handle, limits, standing, folder)
    os.close(handle)
    how = "" if child else "it did not start"
    end, last, asked = time.monotonic() + limits[0], "timed out", False
    while not how:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            how = _words(os.waitstatus_to_exitcode(status))
        elif time.monotonic() > end:
            _kill(child, standing)
            how = last
        elif not asked and select.select([grader], [], [], 0.005)[0]:
            asked = True
            end, last = min(end, time.monotonic() + TO_LEAVE), "it went on without an answer"
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    grader.recv(1)  # the byte
    return how


def _kill(child: int, standing: Fences) -> None:
    """End a child; behind the fences all that it started ends with it."""
    if not standing.root:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _words(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _fork(handle: int, limits: tuple[float, float], standing: Fences, folder: str) -> int:
    """The process number of a child that serves on the handle; 0 where there is none.

    Behind the fences it is the first process of its own numbers, so that all it starts ends with
    it. A child in between makes them and tells the number of its child before it ends.
    """
    to_read, to_write = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            if standing.root:
                fences.own_namespaces()
                if inner := os.fork():
                    os.write(to_write, struct.pack("<Q", inner))
                    os._exit(0)
            _child(handle, limits, standing, folder)
        os._exit(1)
    os.close(to_write)
    if standing.root:
        os.waitpid(child, 0)
        told = os.read(to_read, 8)
        child = struct.unpack("<Q", told)[0] if len(told) == 8 else 0
    os.close(to_read)
    return child


# --- the child of an answer -----------------------------------------------------------------


def _child(handle: int, limits: tuple[float, float], standing: Fences, folder: str) -> None:
    """Close the world, serve, and end."""
    line = socket.socket(fileno=handle).makefile("rwb")  # before sockets are forbidden
    try:
        os.closerange(3, handle)
        os.closerange(handle + 1, 256)
        if not standing.root:
            os.setsid()
        fences.limit(*limits)
        _enter(standing, folder)
    except OSError as error:
        write(line, {"fallen": str(error)})
        return
    write(line, {"fenced": True})
    with contextlib.suppress(EOFError, ValueError):
        serve(line)
    os._exit(0)


def _enter(standing: Fences, folder: str = "") -> None:
    """Go behind the fences that stand here. Raises OSError where they fall."""
    if standing.root:
        fences.build_root(fences.visible())
        fences.drop_rights()
    else:
        os.chdir(folder)
    own = "/tmp" if standing.root else folder
    os.environ.update(dict.fromkeys(("HOME", "TMPDIR", "TEMP", "MPLCONFIGDIR"), own))
    tempfile.tempdir = None
    if standing.calls:
        _filter_calls()


def serve(line: Any) -> None:
    """Run the hand-in's statements for one answer; then call it as often as the grader asks."""
    task = read(line)
    program = slicing.program(task["cells"], task["lesson"], task["name"], task["whole"])
    if not program.statements:
        write(line, {"missing": program.problem})
        return
    names: dict[str, Any] = {"__name__": "__main__", "get_ipython": Shell}
    problem = _run(program.statements, names)
    function = names.get(task["name"])
    if not callable(function):
        write(line, {"raised": problem or f"{task['name']} is not a function"})
        return
    digest = hashlib.sha256(str(program).encode()).hexdigest()
    about = {"fingerprint": program.fingerprint, "program": digest, "names": program.names()}
    write(line, about)
    while True:
        _answer(line, function, read(line)["call"], problem)


class Shell:
    """What a line for Jupyter or the shell finds here: something that does nothing."""

    def __getattr__(self, name: str) -> Callable[..., list]:
        """Any of its functions."""
        return lambda *words, **options: []


def _run(statements: list[ast.stmt], names: dict[str, Any]) -> str:
    """Run statements in order; as in a notebook, an error does not take back what was before.

    Returns the first error in words.
    """
    problem = ""
    for statement in statements:
        try:
            code = ast.fix_missing_locations(ast.Module([statement], []))
            exec(compile(code, "answer", "exec"), names)
        except BaseException as error:  # also exit() and an interrupt
            problem = problem or _in_words(error)
    return problem


def _in_words(error: BaseException) -> str:
    if isinstance(error, NotImplementedError):
        return "NotImplementedError"
    return f"{type(error).__name__}: {str(error)[:150]}"


def _answer(line: Any, function: Callable, data: str, before: str) -> None:
    """Call the answer and send what it gives, or its error."""
    try:
        reply = _call(function, data)
    except BaseException as error:
        words = _in_words(error)
        if before and words != "NotImplementedError":
            words = f"{words} (before that: {before})"
        reply = {"raised": words}
    write(line, reply)


def _call(function: Callable, data: str) -> dict:
    arguments = pickle.loads(base64.b64decode(data))  # from the grader, which is trusted
    before, places = [pack(each) for each in arguments], [*map(_place, arguments)]
    result = function(*arguments)
    if result is NotImplemented or result is ...:
        raise NotImplementedError
    after = [pack(each) for each in arguments]
    changed = {str(i): b for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}
    moved = [str(i) for i, each in enumerate(arguments) if _place(each) != places[i]]
    return {"result": pack(result), "changed": changed, "moved": moved}


def _place(argument: Any) -> int:
    """Where a tensor lies in memory; an exercise may ask that it stays there."""
    return argument.data_ptr() if isinstance(argument, Tensor) else 0


if __name__ == "__main__":
    main(*sys.argv[1:])
