"""Errands: short Ray jobs on the head, for what the job server alone cannot do."""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Mapping
from typing import Any

import tilefarm
from tilefarm.errors import ClusterError, TilefarmError
from tilefarm.remote.answers import exit_code, harmless_lines
from tilefarm.remote.server import JobServer, RayJob

PROGRAM = "python -m tilefarm.remote.agent"
"""What runs on the head; tests have one that paints with a stand-in worker."""
ANSWER = "tilefarm-answer "
"""Begins the line of an errand's output that is for the laptop."""
_PREFIX = "tilefarm-errand-"
_KEPT = 20
"""Errands that the server remembers. Ray itself keeps all; and one that is forgotten right at its end comes
back, as failed, when the server notices that its process is gone."""
_ERRAND_SECONDS = 3600.0
"""To read and write all files of a run may take long on a head's disk."""


class RemoteError(TilefarmError):
    """What went wrong on the cluster, with the exit code that it had there."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def entrypoint(*words: str) -> str:
    """The command line of a job; it says which version asks."""
    return "exec " + PROGRAM + " " + shlex.join((tilefarm.__version__, *words))


def errand(server: JobServer, *words: str, environment: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Have the agent do something on the head, and return its answer.

    Raises RemoteError with what it says where it fails, ClusterError where there is no agent.
    """
    _forget_old(server)
    id = f"{_PREFIX}{uuid.uuid4().hex}"
    server.submit(id, entrypoint(*words), {}, environment or {})
    job = server.wait(id, _ERRAND_SECONDS)
    if job is None:
        raise ClusterError(f"the cluster at {server.address} was started anew meanwhile; try again")
    if not job.ended:
        raise ClusterError(
            f"the cluster at {server.address} has not done {words[0]} in an hour; see its dashboard"
        )
    answer = answer_in(server.output(id))
    if answer is None:
        raise silent(server, job)
    if "error" in answer:
        raise RemoteError(harmless_lines(str(answer["error"])), exit_code(answer.get("exit_code")))
    return answer


def _forget_old(server: JobServer) -> None:
    ended = [job for job in server.jobs() if job.id.startswith(_PREFIX) and job.ended]
    for job in sorted(ended, key=lambda job: job.began)[:-_KEPT]:
        server.delete(job.id)


def answer_in(output: str) -> dict[str, Any] | None:
    """The last answer in what an agent has printed; None for none."""
    for line in reversed(output.splitlines()):
        if line.startswith(ANSWER):
            try:
                answer = json.loads(line.removeprefix(ANSWER))
            except (ValueError, RecursionError):
                return None
            return answer if isinstance(answer, dict) else None
    return None


def silent(server: JobServer, job: RayJob) -> ClusterError:
    """Of a job whose agent said nothing: it did not come to run."""
    if "No module named" in job.message and "tilefarm" in job.message:
        return ClusterError(
            f"the cluster at {server.address} has no tilefarm {tilefarm.__version__} where its jobs look for "
            "it; install it into the Python that runs Ray there"
        )
    lines = [line.strip() for line in job.message.splitlines() if line.strip()]
    why = lines[-1][:300] if lines else f"it ended as {job.status}"
    return ClusterError(f"a job on the cluster at {server.address} did not start ({why}); see its dashboard")
