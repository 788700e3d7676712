"""The fences around an answer: what a process that runs a student's code can see and do.

On Linux with user namespaces the process gets a root of its own: an empty folder, into which only
Python, its packages and the kit's recorded data are put, read-only. Hand-ins, homes, /tmp, /run and
other people's sockets are not forbidden there, they do not exist. On every Linux it may open no
socket and start no process. What is not kept is said in docs/grading.md, and by `describe`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import site
import sys
import sysconfig
from pathlib import Path

from ..paths import DATA, FIGURES, LESSONS, PACKAGE, ROOT

# The words for `unshare`, from the strongest set to the weakest that some systems still allow.
NAMESPACES = ("--user", "--map-root-user", "--net", "--ipc", "--pid", "--fork", "--kill-child")
WAYS = ((*NAMESPACES, "--mount"), NAMESPACES[:4], ())

NEW_MOUNTS, NEW_IPC, NEW_PROCESSES = 0x00020000, 0x08000000, 0x20000000
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC = 1, 2, 4, 8
REMOUNT, BIND, RECURSIVE = 32, 4096, 16384
DETACH = 2  # of umount2
NO_NEW_PRIVILEGES, SECCOMP = 38, 22  # of prctl

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store")
SETTINGS = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "fonts", "alternatives")
DEVICES = ("null", "zero", "full", "random", "urandom")
WORK = ("/tmp", "/dev/shm")  # all else is read-only
WORKPLACE = "size=64m,nr_inodes=1000"  # what an answer may write, in bytes and in files

# Numbers of system calls: socket, io_uring_setup (which opens sockets, too), ptrace,
# process_vm_writev, and where there are any fork and vfork.
FORBIDDEN = {"x86_64": (41, 425, 101, 311, 57, 58), "aarch64": (198, 425, 117, 271)}
CLONE = {"x86_64": 56, "aarch64": 220}  # allowed for a thread, forbidden for a process
CLONE3, THREAD = 435, 0x10000
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NEVER = {"x86_64": 0x40000000, "aarch64": 0xFFFFFFFF}  # calls from here on are of another kind


class Fenceless(OSError):
    """A fence that held before does not stand."""


@functools.cache
def visible() -> list[Path]:
    """Folders and files that an answer may read: Python, its packages, the kit's recorded data."""
    names = sysconfig.get_paths()
    packages = [names[key] for key in ("purelib", "platlib", "stdlib", "platstdlib")]
    packages += [*site.getsitepackages(), site.getusersitepackages()]
    packages += [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    places = [*SYSTEM, sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    places += [f"/etc/{name}" for name in SETTINGS]
    kit = [PACKAGE, DATA / "results", DATA / "published.csv", DATA / "splits", FIGURES]
    kit += [ROOT / "experiments"]
    found = [Path(place).absolute() for place in [*places, *packages]]
    found += [place.absolute() for place in kit]
    return [place for place in dict.fromkeys(found) if place.exists() and not _holds_work(place)]


def _holds_work(place: Path) -> bool:
    """Whether a folder is one of those in which hand-ins and homes lie."""
    kept = [Path("/"), Path.home(), ROOT.absolute(), LESSONS.absolute()]
    return place.resolve() in [each.resolve() for each in kept]


def build_root(places: list[Path]) -> None:
    """Make a root of its own for this process, and leave the old one for good.

    Raises Fenceless where the system refuses. Needs a mount namespace and the rights in it.
    """
    places = [*places, *(Path("/dev", name) for name in DEVICES)]
    sources = {place: os.path.realpath(place) for place in sorted(places)}
    _mount("tmpfs", "/tmp", "tmpfs", NO_SUID | NO_DEVICES, "size=1m,nr_inodes=10000")
    Path("/tmp/old").mkdir()
    _done(_libc().pivot_root(b"/tmp", b"/tmp/old"), "a root of its own")
    os.chdir("/")
    for work in WORK:  # first: a kit may lie in one of them, and is shown there
        Path(work).mkdir(parents=True)
        _mount("tmpfs", work, "tmpfs", NO_SUID | NO_DEVICES, WORKPLACE)
    for shown, source in sources.items():
        _show(shown, source)
    Path("/proc").mkdir(exist_ok=True)
    with contextlib.suppress(OSError):  # refused inside of some containers; then there is none
        _mount("proc", "/proc", "proc", NO_SUID | NO_DEVICES | NO_EXEC)
    here = Path("/proc/self/mountinfo")  # or the old one, where a container refused to mount it
    mounted = _mounted((here if here.exists() else Path("/old/proc/self/mountinfo")).read_text())
    _done(_libc().umount2(b"/old", DETACH), "to leave the old root")
    Path("/old").rmdir()
    for place, flags in mounted:
        if not place.startswith("/old") and place not in WORK:
            _mount(None, place, None, BIND | REMOUNT | READ_ONLY | flags)
    os.chdir("/tmp")


def _show(place: Path, source: str) -> None:
    """Put a file or folder of the old root at its place in the new one."""
    if place.exists():
        return  # inside of what is there already
    old = Path(f"/old{source}")
    place.parent.mkdir(parents=True, exist_ok=True)
    if old.is_dir():
        place.mkdir()
    else:
        place.touch()
    _mount(str(old), str(place), None, BIND | RECURSIVE)


def _mounted(table: str) -> list[tuple[str, int]]:
    """Every mount of a table with those of its flags that a remount must repeat."""
    words = {
        "nosuid": NO_SUID,
        "nodev": NO_DEVICES,
        "noexec": NO_EXEC,
        "noatime": 1024,
        "nodiratime": 2048,
        "relatime": 1 << 21,
    }
    found = []
    for line in table.splitlines():
        place, options = line.split()[4:6]
        flags = sum(words.get(word, 0) for word in options.split(","))
        found.append((place.encode().decode("unicode_escape"), flags))
    return found


def filter_calls() -> bool:
    """No socket and no process from here on, by a filter of system calls; whether it stands.

    Needs no right, and works where namespaces are refused.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in FORBIDDEN:
        return False
    rules = _rules(machine)
    text = ctypes.create_string_buffer(b"".join(_rule(*rule) for rule in rules))
    head = (ctypes.c_uint64 * 2)(len(rules), ctypes.addressof(text))  # struct sock_fprog
    libc = _libc()
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return libc.prctl(SECCOMP, 2, ctypes.byref(head), 0, 0) == 0


def _rules(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter: (what to do, rules to skip if so, rules to skip if not, value)."""
    load, equal, at_least, has, give = 0x20, 0x15, 0x35, 0x45, 0x06
    kill, allow = 0x80000000, 0x7FFF0000
    denied, unknown = 0x00050000 | 13, 0x00050000 | 38  # the error that the caller gets
    rules = [(load, 0, 0, 4), (equal, 1, 0, ARCHITECTURE[machine]), (give, 0, 0, kill)]
    rules += [(load, 0, 0, 0), (at_least, 0, 1, NEVER[machine]), (give, 0, 0, kill)]
    for number in FORBIDDEN[machine]:
        rules += [(equal, 0, 1, number), (give, 0, 0, denied)]
    rules += [(equal, 0, 1, CLONE3), (give, 0, 0, unknown)]  # then a thread is made by clone
    rules += [(equal, 0, 4, CLONE[machine]), (load, 0, 0, 16)]  # its first argument, flags
    rules += [(has, 0, 1, THREAD), (give, 0, 0, allow), (give, 0, 0, denied)]
    return [*rules, (give, 0, 0, allow)]


def _rule(code: int, then: int, other: int, value: int) -> bytes:
    numbers = (code.to_bytes(2, sys.byteorder), bytes([then, other]))
    return b"".join(numbers) + value.to_bytes(4, sys.byteorder)


def drop_rights() -> None:
    """Give up every right over the namespaces, for good."""
    libc = _libc()
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _done(libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), nothing), "to drop its rights")


def limit(seconds: float, memory_gb: float) -> None:
    """Limits of memory, processor time, file size, open files and processes."""
    import resource

    used = Path("/proc/self/statm")
    pages = int(used.read_text().split()[0]) if used.exists() else 0
    limits = {
        "RLIMIT_AS": pages * os.sysconf("SC_PAGE_SIZE") + int(memory_gb * 2**30),
        "RLIMIT_CPU": int(seconds) + 5,
        "RLIMIT_FSIZE": 100 << 20,
        "RLIMIT_NOFILE": 256,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
    }
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


def own_namespaces() -> None:
    """Mounts and process numbers of its own for this process and what it forks."""
    _done(_libc().unshare(NEW_MOUNTS | NEW_IPC | NEW_PROCESSES), "namespaces of its own")


def describe(root: bool, calls: bool) -> str:
    """What holds, in one line."""
    held = ["a process for each answer", "time limit"]
    if os.name == "posix":
        held.append("memory limit")
    if calls:
        held.append("no network, no socket, no other process")
    elif root:
        held.append("no network")
    if root:
        held.append("sees Python, its packages and recorded data, no other file and no process")
        return ", ".join(held)
    return ", ".join(held) + "; NOT kept from this user's files and processes"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(what: str | None, where: str, kind: str | None, flags: int, words: str = "") -> None:
    named = [None if word is None else word.encode() for word in (what, where, kind)]
    number = ctypes.c_ulong(flags)
    _done(_libc().mount(*named, number, words.encode() or None), f"mount {where}")


def _done(result: int, what: str) -> None:
    """Raise Fenceless unless a call of the system went well."""
    if result != 0:
        error = ctypes.get_errno()
        raise Fenceless(error, f"the system refuses {what} ({os.strerror(error)})")
