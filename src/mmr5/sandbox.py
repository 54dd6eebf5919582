"""What a process that opens strangers' files gives up: time, memory, the network, its parent's environment, an orphan's life.

Everything is done where the system can; :func:`enter` says whether the network is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_KEPT = frozenset(
    {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "HOME", "MMR5_CACHE", "XDG_CACHE_HOME", "PYTHONPATH", "PYTHONHOME", "PYTHONUTF8"}
    | {"LD_LIBRARY_PATH", "SYSTEMROOT", "OMP_NUM_THREADS"}
)
"""Variables that such a process needs to find its libraries and the cache."""

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET of linux/sched.h
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def environment(source: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The environment of the process: what it needs of another one, and a folder of its own for temporary files."""
    return {**{name: source[name] for name in _KEPT & source.keys()}, "TMPDIR": str(folder)}


def enter(parent: int, memory_bytes: int, seconds: float) -> bool:
    """Confine this process, before it has a second thread.

    Args:
        parent: process id of who started it; without it this process ends.
        memory_bytes: most address space.
        seconds: longest time, of which every core may be used.

    Returns:
        Whether it has no network any more.
    """
    isolated = _leave_network()
    die_with(parent)
    _limit(memory_bytes, seconds)
    return isolated


def allow_cpu(seconds: float) -> None:
    """End this process by ``SIGPROF`` once it has used so many more seconds of processor time; a later call counts anew."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit(memory_bytes: int, seconds: float) -> None:
    """Bound address space and processor time, and forbid core dumps."""
    try:
        import resource
    except ImportError:
        return
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: max(1, int(seconds)) * (os.cpu_count() or 1),
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def _leave_network() -> bool:
    """Move to a network namespace without any interface that is up; root alone can without a user namespace."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_USER | _NEW_NET) != 0:
        return False
    with contextlib.suppress(OSError):
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return True


def die_with(parent: int, by: int = signal.SIGKILL) -> None:
    """End with the parent by a signal, also when it ended already."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PARENT_DEATH_SIGNAL, by, 0, 0, 0)
        if os.getppid() != parent:
            raise SystemExit(1)
