"""A job written out in full, as the run folder keeps it."""

from __future__ import annotations

from tilefarm.spec.model import Job
from tilefarm.spec.yaml_writer import write_yaml


def to_yaml(job: Job) -> str:
    """The job file with every key; what has no value is null. `load_job` reads it back to an equal job."""
    return write_yaml(job.model_dump(mode="json"))
