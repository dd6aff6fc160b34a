"""job.yaml and inputs.json: what a run was started with, so that a resumed one can say what has changed.

The name of the folder has the hash of everything that decides the pixels; inputs.json holds the same values
in full. job.yaml ends in its own CRC-32.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tilefarm import faults
from tilefarm.errors import JobError
from tilefarm.files import write_text
from tilefarm.rundir.layout import RunDir
from tilefarm.sealed import DamagedError, is_sealed_text, opened_json, sealed_json, sealed_text
from tilefarm.spec.files import input_files
from tilefarm.spec.fingerprint import pixel_inputs
from tilefarm.spec.model import Job
from tilefarm.spec.resolved import to_yaml

_MOST_NAMED = 8


def write_job(run: RunDir, job: Job) -> None:
    """Replace job.yaml, and write inputs.json where it is missing or damaged.

    Raises JobError where an input cannot be read, ResourceError where the disk is full.
    """
    write_text(run.job, sealed_text(to_yaml(job)))
    faults.reached("job: replaced")
    if _read_inputs(run) is None:  # the folder's name says that they are the same
        record = {"files": {key: str(path) for key, path in input_files(job)}, "decides": pixel_inputs(job)}
        write_text(run.inputs, sealed_json(json.dumps(record, sort_keys=True)) + "\n")
        faults.reached("inputs: replaced")


def check_job(run: RunDir) -> None:
    """Raise JobError where job.yaml is not as it was written. A run of a version before has no sum."""
    try:
        sealed = is_sealed_text(run.job.read_bytes())
    except DamagedError:
        sealed = False
    else:
        sealed = sealed or not run.inputs.exists()
    if not sealed:
        raise JobError(
            f"{run.job} is not as tilefarm wrote it: it is damaged, or was edited; submit the job file "
            "that the run was started from again, with your changes, and it goes on or starts anew"
        )


def input_hashes(run: RunDir, job: Job) -> dict[str, str]:
    """By key, the SHA-256 that the files had which decide the pixels, when the run was started.

    A run of a version before has no record of them; its folder's name says that they are still the same.
    """
    record = _read_inputs(run)
    decides = pixel_inputs(job) if record is None else record["decides"]
    files = dict(input_files(job))
    return {role: value for key, value in _leaves(decides) if (role := _role(key)) in files}


def differences(run: RunDir, job: Job) -> list[str]:
    """What decides the pixels of a job and is not as the run was started with, each as a clause.

    Empty where nothing is, and where the run has no record of it.
    """
    record = _read_inputs(run)
    if record is None:
        return []
    now, then = dict(_leaves(pixel_inputs(job))), dict(_leaves(record["decides"]))
    paths = {key: str(path) for key, path in input_files(job)}
    found = []
    for key in sorted(now.keys() | then.keys()):
        if now.get(key) == then.get(key):
            continue
        role = _role(key)
        if role in paths and role in record["files"]:
            found.append(f"{role} ({paths[role]}) holds other bytes")
        else:
            found.append(f"{key} is {json.dumps(now.get(key))} and was {json.dumps(then.get(key))}")
    if len(found) > _MOST_NAMED:
        found[_MOST_NAMED:] = [f"{len(found) - _MOST_NAMED} more"]
    return found


def _read_inputs(run: RunDir) -> dict[str, Any] | None:
    try:
        data, sealed = opened_json(run.inputs.read_bytes().rstrip(b"\n"))
        return json.loads(data) if sealed else None
    except (OSError, ValueError):
        return None


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted key: styles.0.weight."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = [(str(number), each) for number, each in enumerate(value)]
    else:
        yield key, value
        return
    for name, each in items:
        yield from _leaves(each, f"{key}.{name}" if key else str(name))


def _role(key: str) -> str:
    """The key of the job file whose file this value stands for: styles.0.sha256 is that of styles.0.image."""
    head, _, last = key.rpartition(".")
    if last != "sha256":
        return key
    return f"{head}.image" if head.startswith("styles.") else head
