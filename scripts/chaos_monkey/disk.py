"""A small disk of the script's own: a tmpfs that only it and its children see."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DISK_BYTES = 640 * 2**20
"""What the driver wants to see free before it starts, and a bit."""
INSIDE = "CHAOS_DISK"
_MOUNT = 'mount -t tmpfs -o size={size} chaos "$1" && shift && exec "$@"'


def small_disk() -> Path | None:
    """The folder where the small disk is mounted; None outside."""
    folder = os.environ.get(INSIDE)
    return None if folder is None else Path(folder)


def on_small_disk(folder: Path, arguments: Sequence[str]) -> int | None:
    """Run this script again where `folder` is a disk of its own; its exit code.

    None where the system lets nobody do that: a user namespace with a mount of its own is needed.
    """
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT.format(size=DISK_BYTES)]
    try:
        tried = subprocess.run([*mount, "sh", folder, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    if tried.returncode:
        return None
    again = [sys.executable, "-m", "scripts.chaos_monkey", *arguments]
    environment = {**os.environ, INSIDE: str(folder)}
    return subprocess.run([*mount, "sh", folder, *again], env=environment, check=False).returncode
