"""`submit --cluster`: a job that goes on without this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import tilefarm
from tilefarm.errors import ClusterError, RunBusyError
from tilefarm.prepare import prepare
from tilefarm.remote.bundle import Bundle, bundle
from tilefarm.remote.errand import entrypoint
from tilefarm.remote.send import Tell, send
from tilefarm.remote.server import JobServer, RayJob
from tilefarm.spec.model import Job
from tilefarm.store.keeping import Wish

NAME, MANIFEST, VERSION, STORE = "tilefarm_name", "tilefarm_manifest", "tilefarm_version", "tilefarm_store"
"""In the metadata of our jobs."""
_ATTEMPTS = 3

Outcome = Literal["submitted", "resumed", "running", "done"]


@dataclass(frozen=True)
class Submitted:
    """What became of a job that was handed in."""

    name: str
    """The id of the job on the cluster."""
    outcome: Outcome
    bytes_sent: int


def prepared_bundle(job: Job, note: Callable[[str], object]) -> Bundle:
    """Check everything about a job that can be checked here, and pack it. Raises JobError."""
    for text in prepare(job).notes:
        note(text)
    return bundle(job)


def attempts(server: JobServer) -> dict[str, list[RayJob]]:
    """All that the server knows of tilefarm's jobs, by name: each time that one was started, in order.

    The first has the name itself for its id, the next ones NAME.2, NAME.3 ...: an id cannot be used again,
    and a job that was forgotten to make room for itself was seen to meet what was left of its old one.
    """
    found: dict[str, list[RayJob]] = {}
    for job in server.jobs():
        if NAME in job.metadata and MANIFEST in job.metadata:
            found.setdefault(job.metadata[NAME], []).append(job)
    return {name: sorted(jobs, key=lambda job: (len(job.id), job.id)) for name, jobs in found.items()}


def submit(
    server: JobServer,
    packed: Bundle,
    fresh: bool = False,
    tell: Tell = lambda sent, total: None,
    store: Wish | None = None,
) -> Submitted:
    """Start a job, unless it runs or is done; what ended before its end goes on where it was.

    The name has the hash of all that decides the pixels, and Ray refuses an id twice: so a job that is
    handed in twice, by two people at once or after a broken connection, runs once. With a store the driver
    there keeps a copy of the run at it; credentials do not travel, the head has its own. Raises RunBusyError
    where the same picture is rendered at the moment into another file, or without that store.
    """
    sent = 0
    for _ in range(_ATTEMPTS):
        before = attempts(server).get(packed.name, [])
        if before and (found := _standing(server, packed, before[-1], fresh, store)) is not None:
            return Submitted(packed.name, found, sent)
        sent += send(server, packed, tell)
        id = f"{packed.name}.{len(before) + 1}" if before else packed.name
        words = ["run", packed.sha256, *(["--fresh"] if fresh else [])]
        metadata = {NAME: packed.name, MANIFEST: packed.sha256, VERSION: tilefarm.__version__}
        if store is not None:
            words += ["--store", store.address, str(store.pace.seconds), str(store.pace.rate)]
            metadata[STORE] = store.address
        if server.submit(id, entrypoint(*words), metadata, {}):
            return Submitted(packed.name, "resumed" if before else "submitted", sent)
    raise ClusterError(f"somebody else starts and stops {packed.name} at {server.address}; try again")


def _standing(
    server: JobServer, packed: Bundle, job: RayJob, fresh: bool, store: Wish | None
) -> Outcome | None:
    """Of a job of this name: what is to be said of it, where there is nothing to do."""
    other = "" if job.metadata.get(MANIFEST) == packed.sha256 else " into another file"
    if store is not None and job.metadata.get(STORE) != store.address:
        other = other or f" and not kept at {store.address}"
    if not job.ended:
        if fresh or other:
            raise RunBusyError(
                f"{packed.name} is being rendered at {server.address}{other}; wait for it, or cancel it first"
            )
        return "running"
    return "done" if job.status == "SUCCEEDED" and not other and not fresh else None
