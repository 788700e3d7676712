"""The process in which a student's answers run, and how values leave it: as data, never as code.

`python -m ltcl_helpers.course.answering`, started by `sandbox`, runs a submission's statements and
calls a function of it when asked. It knows no check and gives no verdict.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import ctypes
import json
import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterable, Sequence, Set
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
        if array.ndim:  # of texts, or of objects that may be numbers
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


# --- in the answer's process ----------------------------------------------------------------


def main(folder: str, memory_gb: str, seconds: str) -> None:
    """Serve: for each exercise a forked child that ends with it."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # whatever an answer prints goes nowhere
        os.dup2(nowhere, number)
    if sys.platform == "linux" and os.getpid() == 1:  # alone behind namespaces of its own
        _close_the_world(folder)
    os.chdir(folder)
    torch.set_num_threads(1)
    write(target, {"ready": True})
    while True:
        try:
            task = read(source)
        except (EOFError, ValueError):
            return
        if "name" not in task:
            write(target, {"ended": True})  # of an exercise whose child is gone
        elif not hasattr(os, "fork"):
            _serve(task, source, target)  # and the grader starts another process
        elif child := os.fork():
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status:
                how = f"killed by signal {-status}" if status < 0 else f"exit code {status}"
                write(target, {"died": f"the process ended ({how})"})
        else:
            _limit(float(memory_gb), float(seconds))
            with contextlib.suppress(EOFError):
                _serve(task, source, target)
            os._exit(0)


def _limit(memory_gb: float, seconds: float) -> None:
    import resource

    used = Path("/proc/self/statm")
    now = int(used.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if used.exists() else 0
    limits = {
        "RLIMIT_AS": now + int(memory_gb * 2**30),
        "RLIMIT_CPU": int(seconds) + 5,
        "RLIMIT_FSIZE": 100 << 20,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
    }
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


def _close_the_world(folder: str) -> None:
    """Every file system read-only but `folder`; then give up the right to change that."""
    libc = ctypes.CDLL(None, use_errno=True)
    bind, remount, read_only = 4096, 32, 1
    flags = {
        "nosuid": 2,
        "nodev": 4,
        "noexec": 8,
        "noatime": 1024,
        "nodiratime": 2048,
        "relatime": 1 << 21,
    }
    libc.mount(folder.encode(), folder.encode(), None, bind, None)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, options = line.split()[4:6]
        place = place.encode().decode("unicode_escape")
        if place == os.path.realpath(folder):
            continue
        kept = sum(flags.get(word, 0) for word in options.split(","))
        libc.mount(None, place.encode(), None, bind | remount | read_only | kept, None)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges
    nothing = (ctypes.c_uint32 * 6)()
    libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), nothing)


def _serve(task: dict, source: Any, target: Any) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    _answer(target, lambda: exec(compile(task["statements"], "answer", "exec"), names))
    while "call" in (request := read(source)):
        _answer(target, lambda data=request["call"]: _call(names[task["name"]], data))
    write(target, {"ended": True})


def _call(function: Any, data: str) -> dict:
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


def _answer(target: Any, work: Any) -> None:
    try:
        reply = work() or {"done": True}
    except NotImplementedError:
        reply = {"raised": "NotImplementedError"}
    except BaseException as error:  # also exit() and an interrupt
        reply = {"raised": f"{type(error).__name__}: {str(error)[:150]}"}
    write(target, reply)


if __name__ == "__main__":
    main(*sys.argv[1:])
