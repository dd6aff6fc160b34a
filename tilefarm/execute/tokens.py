"""Ray's token authentication: whether a cluster asks for a token, and which one this machine has.

One token opens a cluster to whoever knows it. Ray looks for it in RAY_AUTH_TOKEN, then in the file that
RAY_AUTH_TOKEN_PATH names, then in ~/.ray/auth_token, and sends it where RAY_AUTH_MODE is "token". Measured
with Ray 2.60: with an explicit address it never sends one by itself, and where a driver uses a token and the
cluster does not, the driver joins and its workers never start. So the door is looked at first.

Source: https://docs.ray.io/en/latest/ray-security/token-auth.html
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tilefarm.errors import ClusterError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
LOOK_SECONDS = 60.0
"""For a process that imports Ray and asks once, on a busy machine; half a second on an idle one."""
_LOOK = """
import sys
sys.path[:] = sys.argv[2:]
from ray._raylet import GcsClient
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=canonicalize_bootstrap_address_or_die(sys.argv[1])).check_alive([], timeout=5)
    print("open")
except AuthenticationError:
    print("locked")
"""

Door = Literal["open", "locked", "unknown"]
"""Whether a cluster lets anybody in, asks for a token, or does not say."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenSource:
    """Where this machine's token is; never the token itself."""

    name: str
    path: Path | None

    def looseness(self) -> str | None:
        """What is wrong with the file's permissions, in a sentence."""
        if self.path is None:
            return None
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if not mode & 0o077:
            return None
        return (
            f"{self.path} must be readable by you alone and has mode {mode:03o}: whoever reads it can run "
            f"programs on the cluster; run 'chmod 600 {self.path}'"
        )


def find_token() -> TokenSource | None:
    """The token that Ray would use here. Raises ClusterError where the file that is named cannot be used.

    Ray itself ends the process where that file is empty.
    """
    if os.environ.get(TOKEN):
        return TokenSource(TOKEN, None)
    named = os.environ.get(TOKEN_PATH)
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        empty = not path.read_bytes().strip()
    except FileNotFoundError:
        if not named:
            return None
        raise ClusterError(f"{TOKEN_PATH} must name a file with a token; there is no {path}") from None
    except OSError as error:
        raise ClusterError(f"the token file {path} cannot be read ({error.strerror}); correct that") from None
    if empty:
        raise ClusterError(f"the token file {path} is empty; copy the cluster's into it")
    return TokenSource(str(path), path)


def look_at_door(address: str, with_token: bool = False) -> Door:
    """Whether the cluster at HOST:PORT, or "auto", lets in who has no token, or who has this machine's.

    Asked in a process of its own: Ray decides once in a process whether it sends a token. That process looks
    for Ray where this one does, and not in the folder where the user is. Addresses of the form ray:// are
    "unknown".
    """
    if "://" in address:
        return "unknown"
    environment = {**os.environ, MODE: "token" if with_token else "disabled"}
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _LOOK, address, *sys.path],
            env=environment,
            capture_output=True,
            text=True,
            timeout=LOOK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "unknown"
    said = asked.stdout.split()
    if said == ["open"]:
        return "open"
    return "locked" if said == ["locked"] else "unknown"


def settle(address: str) -> Door:
    """Set what Ray needs to join the cluster at the address, before it is imported; say how its door is.

    Raises ClusterError where the cluster asks for a token and this machine has none, or sends none, and
    where RAY_AUTH_MODE=token asks for a cluster with one and this one is open.
    """
    asked_for = os.environ.get(MODE, "").lower()
    door = look_at_door(address)
    if door == "locked":
        _prepare_token(address, asked_for)
    elif door == "open":
        if asked_for == "token":
            raise ClusterError(
                f"{MODE}=token asks for a cluster with token authentication, and the one at {address} lets "
                f"anybody in; start its nodes with {MODE}=token, or unset it here to use the cluster as it is"
            )
        if address == "auto":
            os.environ[MODE] = "disabled"  # else Ray would use a token that it finds here
        _log.warning(
            "the cluster at %s has no token authentication: whoever reaches it can run programs on it",
            address,
        )
    return door


def _prepare_token(address: str, asked_for: str) -> None:
    if asked_for not in ("", "token"):
        raise ClusterError(
            f"the cluster at {address} asks for a token, and {MODE}={asked_for} keeps it from being sent; "
            "unset that"
        )
    source = find_token()
    if source is None:
        raise ClusterError(
            f"the cluster at {address} asks for a token and there is none here; copy its ~/.ray/auth_token "
            f"to the same place on this machine, readable by you alone, or name a file in {TOKEN_PATH}"
        )
    loose = source.looseness()
    if loose is not None:
        _log.warning("%s", loose)
    os.environ[MODE] = "token"
    if "ray" in sys.modules:  # it has read the mode already; this is how Ray itself changes it
        raylet: Any = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")


def refusal(address: str) -> str | None:
    """That a cluster does not take this machine's token, in a sentence; None where it does."""
    source = find_token()
    if source is None or look_at_door(address, with_token=True) != "locked":
        return None
    return f"the cluster at {address} does not take the token in {source.name}; copy that of its head node"


def make_own_token() -> None:
    """A token for the Ray that this process starts, for as long as it lives, where the user gave none.

    Ray would write one to ~/.ray/auth_token, readable by whom the umask lets, and fail where it cannot.
    """
    if not os.environ.get(TOKEN):
        os.environ[TOKEN] = secrets.token_hex(32)
