"""The files that a job reads and writes, with the keys that name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tilefarm.spec.model import Job


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


def output_files(job: Job) -> Iterator[tuple[str, Path]]:
    """(key, path) of every file that a job writes outside of its run folder."""
    yield "output.path", job.output.path
    if job.animation is not None:
        yield "animation.path", job.animation.path
