"""Where a cluster's job server is, and what lets this user in. A token is never shown, nor sent elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import requests

from tilefarm.errors import JobError
from tilefarm.spec.address import without_secrets
from tilefarm.spec.values import found

CLUSTER_VARIABLE = "TILEFARM_CLUSTER"


class Bearer(requests.auth.AuthBase):
    """Sends the token, instead of what ~/.netrc may hold for the host."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        """Add the header to a request."""
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def find_address(given: str) -> str:
    """The address that was given, or TILEFARM_CLUSTER for `auto`, as http://HOST:PORT. Raises JobError."""
    address = os.environ.get(CLUSTER_VARIABLE, "") if given == "auto" else given
    if not address:
        raise JobError(f"--cluster auto takes the address from {CLUSTER_VARIABLE}, which is not set; set it")
    scheme, _, rest = address.rpartition("://")
    if scheme not in ("", "http", "https") or not rest.strip("/"):
        raise JobError(
            "--cluster must be the address of a Ray job server, as http://HOST:8265, got "
            f"{found(without_secrets(address))}"
        )
    if "@" in rest:
        raise JobError(
            "--cluster must not hold a user or a password, which messages would show; tokens come from "
            "RAY_AUTH_TOKEN_PATH, RAY_AUTH_TOKEN or ~/.ray/auth_token"
        )
    if any(mark in rest for mark in "?#\\ ") or not rest.isprintable():
        raise JobError(f"--cluster must be http://HOST:8265 without a query or blanks, got {found(address)}")
    return f"{scheme or 'http'}://{rest.rstrip('/')}"


def find_token() -> str | None:
    """The token where Ray's own programs look for it; None for none. Raises JobError for a useless one."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return None
    token, source = os.environ.get("RAY_AUTH_TOKEN"), "RAY_AUTH_TOKEN"
    if token is None:
        named = os.environ.get("RAY_AUTH_TOKEN_PATH")
        path = Path(named or "~/.ray/auth_token").expanduser()
        source = str(path)
        try:
            token = path.read_text(encoding="ascii")
        except (OSError, ValueError):
            if named:
                raise JobError(f"RAY_AUTH_TOKEN_PATH names {path}, which holds no token") from None
            return None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise JobError(f"{source} holds no token: one line of printable ASCII characters")
    return token
