"""Which doors of a joined cluster stand open, and to whom.

An open dashboard is as good as a login: its job API runs any program (CVE-2023-48022).
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import ray

from tilefarm.execute.survey import NodeReport

CLIENT_PORT = 10001
"""Where Ray Client listens unless told otherwise."""
KNOCK_SECONDS = 2.0


@dataclass(frozen=True)
class Exposure:
    """What of a cluster can be reached."""

    dashboard: str | None
    """HOST:PORT; None where there is none."""
    dashboard_open: bool | None
    """Whether it runs programs for whom shows no token; None where it did not answer from here."""
    client: str | None
    """HOST:PORT of Ray Client, where it answers."""
    elsewhere: tuple[str, ...]
    """The nodes' addresses that other machines can reach, by their form."""
    worldwide: tuple[str, ...]
    """Those of them that are public."""


def look_around(reports: list[NodeReport]) -> Exposure:
    """Knock on the doors of a joined cluster, as somebody without a token."""
    addresses = [report.address for report in reports]
    dashboard = _dashboard()
    head = next((report.address for report in reports if report.head), None)
    client = head is not None and _answers(head, CLIENT_PORT)
    return Exposure(
        dashboard=dashboard,
        dashboard_open=None if dashboard is None else _lets_anybody_in(dashboard),
        client=f"{head}:{CLIENT_PORT}" if client else None,
        elsewhere=tuple(address for address in addresses if not is_loopback(address)),
        worldwide=tuple(address for address in addresses if is_public(address)),
    )


def is_loopback(host: str) -> bool:
    """Whether only the machine itself reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_public(host: str) -> bool:
    """Whether it is an address of the internet."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _dashboard() -> str | None:
    node: Any = ray._private.worker._global_node
    return node.webui_url or None


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), KNOCK_SECONDS).close()
    except OSError:
        return False
    return True


def _lets_anybody_in(dashboard: str) -> bool | None:
    """Whether the list of jobs is shown without a token; who sees it can also submit one."""
    url = urlsplit(f"http://{dashboard}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{url.netloc}/api/jobs/", timeout=KNOCK_SECONDS) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return False if error.code in (401, 403) else None
    except OSError:
        return None
