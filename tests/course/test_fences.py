"""The fences themselves: which system calls the filter lets through, and what stands around it."""

import ctypes
import itertools
import struct
import sys
from pathlib import Path

import pytest

from ltcl_helpers import paths
from ltcl_helpers.course import fences

# --- the filter of system calls ---------------------------------------------------------------

ALLOW, KILL, DENIED, UNKNOWN = "allow", "kill", "EACCES", "ENOSYS"
RETURNS = {0x7FFF0000: ALLOW, 0x80000000: KILL, 0x5000D: DENIED, 0x50026: UNKNOWN}
X86, ARM = 0xC000003E, 0xC00000B7  # AUDIT_ARCH of each machine
# Machine: its number, what it may call, what it may not, clone, and the first call of another kind.
MACHINES = {
    "x86_64": (X86, (0, 1, 9, 40, 42, 56, 59, 60, 100, 310), (41, 425, 101, 311, 57, 58), 56,
               0x40000000),
    "aarch64": (ARM, (0, 56, 63, 64, 197, 221, 222), (198, 425, 117, 271), 220, 0xFFFFFFFF),
}  # fmt: skip
THREAD = 0x3D0F00  # flags of clone as the C library makes a thread; without 0x10000 a process


def verdict(machine, call, architecture=None, flags=THREAD):
    """What the kernel does with a call, as its manual describes classic BPF."""
    words = {0: call, 4: architecture or MACHINES[machine][0], 16: flags}  # of seccomp_data
    program = b"".join(fences._rule(*rule) for rule in fences._rules(machine))
    place, value = 0, None
    while True:
        code, then, other, constant = struct.unpack_from("=HBBI", program, 8 * place)
        place += 1
        if code == 0x06:  # return
            return RETURNS[constant]
        if code == 0x20:  # load a word
            value = words[constant]
        else:
            tests = {0x15: value == constant, 0x35: value >= constant, 0x45: value & constant}
            place += then if tests[code] else other


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_refuses_sockets_and_processes_and_lets_all_else_through(machine):
    _, allowed, denied, clone, other_kind = MACHINES[machine]
    for call in {*allowed, clone} - {57 if machine == "x86_64" else -1}:
        assert verdict(machine, call) == ALLOW, call
        assert verdict(machine, call, ARM if machine == "x86_64" else X86) == KILL
        assert verdict(machine, call, flags=0) == (DENIED if call == clone else ALLOW)
    for call in denied:
        assert verdict(machine, call) == DENIED, call
    assert verdict(machine, clone, flags=0x1200011) == DENIED  # as fork() does it
    assert verdict(machine, 435) == UNKNOWN  # clone3, whose flags no filter can read
    assert [verdict(machine, other_kind + k) for k in (-1, 0)] == [ALLOW, KILL]


def test_a_system_that_is_not_known_has_no_filter(monkeypatch):
    monkeypatch.setattr(fences.platform, "machine", lambda: "riscv64")
    assert not fences.filter_calls()
    monkeypatch.setattr(fences.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not fences.filter_calls()


# --- files ------------------------------------------------------------------------------------


def seen():
    return fences.visible.__wrapped__()


def test_python_its_packages_and_what_starts_programs_are_seen(monkeypatch, tmp_path):
    places = [tmp_path / name for name in ("site-packages", "dist-packages", "work", "gone")]
    for place in places[:3]:
        place.mkdir()
    base, stdlib, users, others = (tmp_path / name for name in ("base", "std", "users", "others"))
    for place in (base, stdlib, users, others):
        place.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, *map(str, places)])
    monkeypatch.setattr(sys, "base_exec_prefix", str(base))
    monkeypatch.setattr(fences.site, "getusersitepackages", lambda: str(users))
    monkeypatch.setattr(fences.site, "getsitepackages", lambda: [str(others)])
    real = fences.sysconfig.get_paths()
    monkeypatch.setattr(fences.sysconfig, "get_paths", lambda: real | {"platstdlib": str(stdlib)})
    found = seen()
    assert {*places[:2], base, stdlib, users, others} <= set(found)
    assert not {*places[2:]} & set(found)
    assert {Path(sys.prefix), Path("/usr"), Path("/bin"), paths.PACKAGE.absolute()} <= set(found)
    settings = ["ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "fonts", "alternatives"]
    here = {Path("/etc", name) for name in settings if Path("/etc", name).exists()}
    assert {place for place in found if place.is_relative_to("/etc")} == here


@pytest.mark.parametrize("place", ["/", Path.home(), paths.ROOT, paths.LESSONS])
def test_no_folder_of_work_is_shown_wherever_python_lies(place, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(place))
    assert Path(place).absolute() not in seen()


MOUNTS = r"""86 63 0:41 / / ro,nosuid,nodev,relatime - tmpfs tmpfs rw,size=1024k
113 86 0:44 / /proc rw,nosuid,nodev,noexec,noatime shared:7 - proc proc rw
114 86 0:45 / /two\040words rw,nodiratime - ext4 /dev/sda rw
115 86 0:46 / /plain rw - ext4 /dev/sda rw
"""


def test_a_mount_keeps_its_flags_when_it_becomes_read_only():
    assert fences._mounted(MOUNTS) == [
        ("/", 2 | 4 | 1 << 21), ("/proc", 2 | 4 | 8 | 1024), ("/two words", 2048), ("/plain", 0)
    ]  # fmt: skip


def test_what_an_answer_has_around_it(fenced):
    """Memory, time, files, rights and mounts, as the system itself tells them."""
    fenced.begin(["""
import os, resource
def tries(names):
    room = [os.statvfs(place) for place in ("/tmp", "/dev/shm")]
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    return {
        "limits": [resource.getrlimit(getattr(resource, "RLIMIT_" + n)) for n in names],
        "used": int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE"),
        "room": [[each.f_blocks * each.f_frsize, each.f_files] for each in room],
        "status": [status[n].split()[0] for n in ("CapPrm", "CapEff", "NoNewPrivs", "Seccomp")],
        "mounts": [line.split()[4:6] for line in open("/proc/self/mountinfo")],
        "root": sorted(os.listdir("/")), "devices": sorted(os.listdir("/dev")),
    }
"""], "tries")  # fmt: skip
    try:
        found = fenced.call(["CPU", "FSIZE", "NOFILE", "CORE", "NPROC", "AS"])
    finally:
        fenced.end()
    *limits, memory = found["limits"]
    seconds = int(fenced.seconds) + 5
    assert limits == [[n, n] for n in (seconds, 100 << 20, 256, 0, 0)]
    room = memory[0] - int(fenced.memory_gb * 2**30)  # what the process had before the answer
    assert abs(found["used"] - room) < 1 << 28 and memory[0] == memory[1]
    assert found["room"] == [[64 << 20, 1000]] * 2
    assert found["status"] == ["0" * 16, "0" * 16, "1", "2"]
    flags = {place: set(words.split(",")) for place, words in found["mounts"]}
    assert {place for place in flags if "ro" not in flags[place]} == {"/tmp", "/dev/shm"}
    for place in ("/", "/tmp", "/dev/shm", "/proc"):
        assert {"nosuid", "nodev"} <= flags[place]
    assert "noexec" in flags["/proc"] and "old" not in found["root"]
    assert found["devices"] == ["full", "null", "random", "shm", "urandom", "zero"]


# --- words ------------------------------------------------------------------------------------

ALWAYS = "a process for each answer, time limit, memory limit"
FILES = ", sees Python, its packages and recorded data, no other file and no process"
OPEN = "; NOT kept from this user's files and processes"


def test_what_holds_is_said_whole():
    for (root, calls), said in zip(
        itertools.product((True, False), repeat=2),
        (
            f"{ALWAYS}, no network, no socket, no other process{FILES}",
            f"{ALWAYS}, no network{FILES}",
            f"{ALWAYS}, no network, no socket, no other process{OPEN}",
            f"{ALWAYS}{OPEN}",
        ),
        strict=True,
    ):
        assert fences.describe(root=root, calls=calls) == said


def test_a_refusal_of_the_system_says_of_what():
    fences._done(0, "nothing")
    ctypes.set_errno(1)
    with pytest.raises(fences.Fenceless, match="the system refuses to fly") as caught:
        fences._done(-1, "to fly")
    assert caught.value.errno == 1 and "Operation not permitted" in str(caught.value)
    with pytest.raises(fences.Fenceless, match="refuses mount /nowhere/x") as caught:
        fences._mount("tmpfs", "/nowhere/x", "tmpfs", 0)
    assert caught.value.errno in (1, 2)  # not permitted, or no such place
