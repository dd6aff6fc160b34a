"""The files that a job reads and writes, with the keys that name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tilefarm.spec.model import Job
from tilefarm.spec.proof import proof_path


def input_files(job: Job) -> Iterator[tuple[str, Path]]:
    """(key, path) of every file that a job reads."""
    yield "content", job.content
    for number, style in enumerate(job.styles):
        for key in ("image", "mask", "style_mask"):
            if (path := getattr(style, key)) is not None:
                yield f"styles.{number}.{key}", path
    named = {"init": job.init, "network.weights": job.network.weights, "output.profile": job.output.profile}
    for key, value in named.items():
        if isinstance(value, Path):
            yield key, value
    if job.output.proof is not None:
        yield "output.proof.profile", job.output.proof.profile


def output_files(job: Job) -> Iterator[tuple[str, Path]]:
    """(key, path) of every file that a job names and writes outside of its run folder."""
    yield "output.path", job.output.path
    if job.animation is not None:
        yield "animation.path", job.animation.path


def written_files(job: Job) -> Iterator[tuple[str, Path]]:
    """As `output_files`, and the proof, whose place follows from output.path."""
    yield from output_files(job)
    if job.output.proof is not None:
        yield "output.path", proof_path(job.output.path)
