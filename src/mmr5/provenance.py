"""Where a result comes from: the code's commit, the libraries and the hardware; one for evaluation and training."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmr5 import __version__

FILE = "provenance.json"
"""Its name in the folder of a run."""


def environment(libraries: Sequence[str], device: str) -> dict[str, Any]:
    """What a result was made with, as plain JSON values.

    Args:
        libraries: names of the packages whose versions count; those that are not installed are left out.
        device: what the model ran on, as :func:`device_name` gives it; "" for none.

    Returns:
        ``mmr5`` (version), ``commit``, ``libraries`` (name → version) and ``hardware``.
    """
    return {
        "mmr5": __version__,
        "commit": commit(),
        "libraries": {name: held for name in libraries if (held := _version(name)) is not None},
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "device": device,
            "python": platform.python_version(),
        },
    }


def commit() -> str | None:
    """The commit of the checkout that this code runs from (with ``+changes`` where it differs from it), or None outside one."""
    here = Path(__file__).resolve()
    if _git(here, "ls-files", "--error-unmatch", here.name) is None:
        return None
    head = _git(here, "rev-parse", "HEAD")
    return None if head is None else head + ("+changes" if _git(here, "status", "--porcelain", "--", str(here.parent)) else "")


def device_name(device: Any) -> str:
    """A torch device in words, with a GPU's name."""
    torch = sys.modules.get("torch")
    if torch is not None and getattr(device, "type", "") == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def file_digest(path: Path) -> str:
    """Sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(here: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(here.parent), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
