"""A job as it travels: its text with relative places, and every file that it reads by its SHA-256."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

import tilefarm
from tilefarm.provenance import put
from tilefarm.remote.home import is_inside
from tilefarm.rundir.find import run_folder
from tilefarm.spec.files import input_files, output_files
from tilefarm.spec.fingerprint import file_sha256
from tilefarm.spec.model import Job
from tilefarm.spec.proof import proof_path
from tilefarm.spec.yaml_writer import write_yaml

FORMAT = 1
"""Of manifests."""
RESULTS = "work"
"""The folder that stands for the one that the picture is written to."""


def _inside(place: str) -> str:
    if not is_inside(place):
        raise ValueError("must be a relative path that stays in its folder")
    return place


Place = Annotated[str, AfterValidator(_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Sent(BaseModel):
    """A file that the job reads."""

    model_config = ConfigDict(frozen=True, strict=True)

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    """In bytes."""


class Manifest(BaseModel):
    """All that the head needs to put the job together again."""

    model_config = ConfigDict(frozen=True, strict=True)

    format: int = FORMAT
    tilefarm: str
    """The version that has sent it."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=100)]
    """Of the run folder, and of the Ray job: NAME-HASH8."""
    job: str
    """The job file, resolved, with places for paths."""
    files: dict[Place, Sent]
    """What the job reads, by its place in the job's folder."""
    results: list[Place]
    """What it writes."""


@dataclass(frozen=True)
class Bundle:
    """A manifest, and where its files are on this machine."""

    manifest: Manifest
    sources: dict[str, Path]
    """By SHA-256."""

    @property
    def name(self) -> str:
        """The id of the job on the cluster."""
        return self.manifest.name

    @property
    def text(self) -> bytes:
        """The manifest as it is sent: the same job gives the same bytes."""
        return self.manifest.model_dump_json().encode()

    @property
    def sha256(self) -> str:
        """Of `text`."""
        return hashlib.sha256(self.text).hexdigest()


def bundle(job: Job) -> Bundle:
    """What to send of a job whose inputs were checked. Raises JobError where one cannot be read.

    Seen from the picture's folder everything has the place that it has here, and what is outside of that has
    its name: the record that a picture carries, and so its bytes, are those of a run on this machine.
    """
    data = job.model_dump(mode="json")
    home = job.output.path.parent.resolve()
    files: dict[str, Sent] = {}
    sources: dict[str, Path] = {}
    numbers: dict[Path, int] = {}
    for key, path in input_files(job):
        place = _place(path, home, numbers.setdefault(path, len(numbers)))
        if place not in files:
            sent = Sent(sha256=file_sha256(path), size=path.stat().st_size)
            files[place] = sent
            sources[sent.sha256] = path
        put(data, key, place)
    results = []
    for key, path in output_files(job):
        results.append(f"{RESULTS if key == 'output.path' else key}/{path.name}")
        put(data, key, results[-1])
    if job.output.proof is not None:
        results.append(f"{RESULTS}/{proof_path(job.output.path).name}")
    manifest = Manifest(
        tilefarm=tilefarm.__version__,
        name=run_folder(job, Path()).name,
        job=write_yaml(data),
        files=files,
        results=results,
    )
    return Bundle(manifest, sources)


def _place(path: Path, home: Path, number: int) -> str:
    real = Path(os.path.realpath(path.parent)) / path.name
    if real.is_relative_to(home):
        return str(PurePosixPath(RESULTS) / real.relative_to(home).as_posix())
    return f"inputs/{number}/{path.name}"
