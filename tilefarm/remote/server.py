"""A Ray cluster's job server, through its HTTP interface: all that a laptop reaches of a cluster.

Jobs and packages: Ray's Jobs REST API. Files: the log endpoint of Ray's State API. `ray.job_submission` has
the first two of them; it needs Ray's dashboard parts on the laptop, imports Ray, and waits for ever for a
server that is silent.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from tilefarm.errors import ClusterError
from tilefarm.foreign import harmless
from tilefarm.remote.access import Bearer
from tilefarm.remote.answers import (
    Answer,
    TooLongError,
    harmless_lines,
    system_reason,
    taken,
    version_numbers,
)
from tilefarm.remote.home import LINK

OLDEST_RAY = (2, 52)
"""The first with token authentication."""
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_CONNECT_SECONDS, _SILENT_SECONDS = 10.0, 120.0
_LOG_SECONDS = 24 * 3600
"""How long the server may take for one file: it breaks off after half a minute otherwise."""
_LOG_FILE = ("GET", "/api/v0/logs/file")
_BLOCK = 1 << 20
_POLL_SECONDS = 0.2


class AwayError(ClusterError):
    """Nobody answers, or not as one who can: it may be back in a moment."""


@dataclass(frozen=True)
class RayJob:
    """What the job server says of a job."""

    id: str
    """That it was submitted with."""
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    message: str
    exit_code: int | None
    """Of the entrypoint, when it has ended by itself."""
    node: str | None
    """The id of the node that it runs on; None before it runs."""
    began: float
    """Seconds since 1970, by the head's clock."""
    metadata: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in ENDED


class JobServer:
    """The job server at an address."""

    def __init__(self, address: str, token: str | None) -> None:
        """Raises ClusterError where there is none, or none that lets this user in."""
        self.address = address
        self._session = requests.Session()
        self._session.auth = Bearer(token)
        with self._understood():
            version = self._json("GET", "/api/version").get("ray_version", "")
        if version_numbers(version) < OLDEST_RAY:
            oldest = ".".join(map(str, OLDEST_RAY))
            raise ClusterError(
                f"the cluster at {address} runs Ray {harmless(version) or 'of an unknown version'}, and "
                f"tilefarm needs {oldest} or newer there; install that on the cluster"
            )

    @cached_property
    def head(self) -> str:
        """The id of the head node."""
        with self._understood():
            found = self._json("GET", "/api/v0/nodes", params={"detail": "1"})
            for node in found["data"]["result"]["result"]:
                if node.get("is_head_node") and node.get("state") == "ALIVE":
                    return str(node["node_id"])
        raise AwayError(
            f"the cluster at {self.address} has no head node that is alive; wait, or start it anew"
        )

    # ---- jobs

    def job(self, id: str) -> RayJob | None:
        """A job, None where the server knows none with this id."""
        answer = self._ask("GET", f"/api/jobs/{id}")
        with self._understood():
            return None if answer.code == 404 else _job(self._checked(answer).parsed())

    def jobs(self) -> list[RayJob]:
        """All that were sent to the server."""
        with self._understood():
            return [_job(one) for one in self._json("GET", "/api/jobs/") if one.get("submission_id")]

    def submit(
        self, id: str, entrypoint: str, metadata: Mapping[str, str], environment: Mapping[str, Any]
    ) -> bool:
        """Start a job; False where there is one with this id already."""
        body = {
            "submission_id": id,
            "entrypoint": entrypoint,
            "metadata": dict(metadata),
            "runtime_env": dict(environment),
        }
        answer = self._ask("POST", "/api/jobs/", json=body)
        if answer.code >= 400 and "already exists" in answer.text:
            return False
        self._checked(answer)
        return True

    def stop(self, id: str) -> None:
        """Send SIGTERM to a job; Ray kills it 3 s later, unless the cluster's nodes say otherwise."""
        self._json("POST", f"/api/jobs/{id}/stop")

    def delete(self, id: str) -> None:
        """Forget a job that has ended."""
        self._ask("DELETE", f"/api/jobs/{id}")

    def output(self, id: str) -> str:
        """What a job has printed."""
        with self._understood():
            return str(self._json("GET", f"/api/jobs/{id}/logs").get("logs", ""))

    def wait(self, id: str, seconds: float) -> RayJob | None:
        """A job when it has ended, as it is after so many seconds otherwise; None where it is not known."""
        end = time.monotonic() + seconds
        while True:
            job = self.job(id)
            if job is None or job.ended or time.monotonic() > end:
                return job
            time.sleep(_POLL_SECONDS)

    # ---- files

    def upload(self, package: Path) -> str:
        """Hand a zip file of less than 100 MiB over; its address, for a job's `working_dir`.

        It is gone when the job that uses it is, or ten minutes later where none does.
        """
        name = f"_ray_pkg_{uuid.uuid4().hex}.zip"
        self._ask("GET", f"/api/packages/gcs/{name}")  # Ray's own client does: it starts the ten minutes
        with package.open("rb") as file:
            self._checked(self._ask("PUT", f"/api/packages/gcs/{name}", data=file))
        return f"gcs://{name}"

    def names(self, pattern: str, node: str | None = None) -> list[str]:
        """The names of files and folders (with /) in the head's folder that match a glob pattern."""
        params = {"node_id": node or self.head, "glob": f"{LINK}/{pattern}"}
        with self._understood():
            found = self._json("GET", "/api/v0/logs", params=params)["data"]["result"]
            return [str(name).removeprefix(f"{LINK}/") for group in found.values() for name in group]

    def read(self, path: str, node: str | None = None, lines: int = -1) -> bytes | None:
        """A small file of the head's folder, or its last lines; None where there is none."""
        answer = self._ask(*_LOG_FILE, params=self._file(path, node, lines))
        if answer.code == 500 and "not found" in answer.text:
            return None
        return self._checked(answer).body

    def stream(self, path: str, node: str | None = None) -> Iterator[bytes]:
        """A file of any size, in blocks. Raises ClusterError where it breaks off or is not there."""
        with closing(self._open(*_LOG_FILE, params=self._file(path, node, -1))) as response:
            if response.status_code != requests.codes.ok:
                self._checked(self._taken(response))
            try:
                yield from response.iter_content(_BLOCK)
            except requests.RequestException as error:
                raise self._unreachable(error) from None

    def _file(self, path: str, node: str | None, lines: int) -> dict[str, str | int]:
        return {
            "node_id": node or self.head,
            "filename": f"{LINK}/{path}",
            "lines": lines,
            "timeout": _LOG_SECONDS,
        }

    # ---- requests

    def _json(self, method: str, path: str, **options: Any) -> Any:
        answer = self._checked(self._ask(method, path, **options))
        with self._understood():
            return answer.parsed()

    def _ask(self, method: str, path: str, **options: Any) -> Answer:
        """The answer, whatever it is, unless nobody answers or this user is not let in."""
        with closing(self._open(method, path, **options)) as response:
            return self._taken(response)

    def _taken(self, response: requests.Response) -> Answer:
        try:
            return taken(response)
        except requests.RequestException as error:
            raise self._unreachable(error) from None
        except TooLongError:
            raise ClusterError(
                f"what answers at {self.address} says more than a job server does; look at what runs there"
            ) from None

    def _open(self, method: str, path: str, **options: Any) -> requests.Response:
        limits = (_CONNECT_SECONDS, _SILENT_SECONDS)
        options |= {"timeout": limits, "stream": True, "allow_redirects": False}
        try:
            response = self._session.request(method, self.address + path, **options)
        except (requests.RequestException, OSError) as error:
            raise self._unreachable(error) from None
        if response.is_redirect:
            response.close()
            raise ClusterError(
                f"what answers at {self.address} sends on to another address, where the token does not go; "
                "name the job server's own, with https:// where it asks for that"
            )
        if response.status_code in (401, 403):
            response.close()
        if response.status_code == 401:
            raise ClusterError(
                f"the cluster at {self.address} asks for a token; give it with RAY_AUTH_TOKEN_PATH=FILE, or "
                "put it into ~/.ray/auth_token"
            )
        if response.status_code == 403:
            raise ClusterError(
                f"the cluster at {self.address} does not accept this token; take the one that its head was "
                "started with"
            )
        return response

    def _checked(self, answer: Answer) -> Answer:
        if answer.code == 404:
            raise self._stranger()
        if answer.code >= 300:
            raise AwayError(
                f"the job server at {self.address} failed ({answer.last_line()}); look into dashboard.log on "
                "its head"
            )
        return answer

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Within the block an answer of another form than Ray's is told."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            raise self._stranger() from None

    def _unreachable(self, error: Exception) -> AwayError:
        silent = isinstance(error, requests.Timeout)
        why = "no answer in time" if silent else system_reason(error)
        return AwayError(
            f"no Ray job server answers at {self.address} ({why}); is the head up, and does it run with "
            "ray[default] and its dashboard?"
        )

    def _stranger(self) -> ClusterError:
        return ClusterError(
            f"what answers at {self.address} is not a Ray job server; name the dashboard's address, as "
            "http://HOST:8265"
        )


def _job(record: Mapping[str, Any]) -> RayJob:
    return RayJob(
        id=harmless(str(record.get("submission_id"))),
        status=harmless(str(record.get("status"))),
        message=harmless_lines(str(record.get("message") or "")),
        exit_code=None if (code := record.get("driver_exit_code")) is None else int(code),
        node=None if (node := record.get("driver_node_id")) is None else harmless(str(node)),
        began=(record.get("start_time") or 0) / 1000,
        metadata={str(key): str(harmless(value)) for key, value in (record.get("metadata") or {}).items()},
    )
