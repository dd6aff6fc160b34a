"""What decides the pixels of a job, as data and as the eight digits in the name of its run folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.spec.model import Job, Output

_BLOCK = 1024 * 1024


def fingerprint(job: Job) -> str:
    """Eight hexadecimal digits of the SHA-256 of `pixel_inputs`. Raises JobError as that does."""
    text = json.dumps(pixel_inputs(job), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:8]


def pixel_inputs(job: Job) -> dict[str, object]:
    """Everything that decides the values of the finished canvas; ready for JSON.

    Inputs count with the SHA-256 of their bytes and not with their names. Left out is what only names,
    places, encodes or speeds up the picture: name, output.path, dpi where it does not set the size,
    bit_depth, and compute without its precision. Raises JobError if an input cannot be read.
    """
    weights = job.network.weights
    return {
        "content": file_sha256(job.content),
        "styles": [
            {"sha256": file_sha256(style.image), "weight": style.weight, "scale": style.scale}
            for style in job.styles
        ],
        "size": _size_request(job.output),
        "method": job.method,
        "network": {
            "name": job.network.name,
            "weights": {"sha256": file_sha256(weights)} if isinstance(weights, Path) else weights,
            "preprocessing": job.network.preprocessing,
            "pooling": job.network.pooling,
        },
        "objective": job.objective.model_dump(mode="json"),
        "pyramid": job.pyramid.model_dump(mode="json"),
        "tiles": job.tiles.model_dump(mode="json"),
        "optimizer": job.optimizer.model_dump(mode="json"),
        "init": job.init,
        "seed": job.seed,
        "precision": job.compute.precision,
    }


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits, read in blocks of 1 MiB. Raises JobError."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _size_request(output: Output) -> dict[str, object]:
    """The request in pixels: prints of the same pixels are the same request, whatever their dpi."""
    if (paper := output.print_size) is not None:
        return {"print": [paper.width, paper.height]}
    for key in ("width", "height", "long_side"):
        if (pixels := getattr(output, key)) is not None:
            return {key: pixels}
    return {"content": True}
