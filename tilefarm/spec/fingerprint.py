"""What decides the pixels of a job, as data and as the eight digits in the name of its run folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tilefarm.errors import JobError
from tilefarm.spec.model import Job, Network, Objective, Optimizer, Output, Pyramid, Style, Tiles
from tilefarm.spec.regions import is_masked, regions_of
from tilefarm.spec.section import Section

_BLOCK = 1024 * 1024
_FIRST_KEYS: dict[type[Section], frozenset[str]] = {
    Style: frozenset({"weight", "scale"}),
    Network: frozenset({"name", "weights", "preprocessing", "pooling"}),
    Objective: frozenset(
        {"content_weight", "style_weight", "tv_weight", "content_layers", "style_layers", "style_target"}
    ),
    Pyramid: frozenset({"smallest", "iterations"}),
    Tiles: frozenset({"size", "rounds", "iterations", "batch", "drift_correction"}),
    Optimizer: frozenset({"name", "history"}),
}
"""Keys of the first version, which always count. Those that came later count where they are not at their
default, so that a run goes on under a version of tilefarm that has learned more."""


def fingerprint(job: Job) -> str:
    """Eight hexadecimal digits of the SHA-256 of `pixel_inputs`. Raises JobError as that does."""
    text = json.dumps(pixel_inputs(job), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:8]


def pixel_inputs(job: Job) -> dict[str, object]:
    """Everything that decides the values of the finished canvas; ready for JSON.

    Inputs count with the SHA-256 of their bytes and not with their names. Left out is what only names,
    places, encodes or speeds up the picture: name, output.path, dpi where it does not set the size,
    bit_depth, colours that the finished canvas gets, whether alpha is kept, and compute without its
    precision and without a transport that loses nothing. Raises JobError if an input cannot be read.
    """
    weights = job.network.weights
    later: dict[str, object] = {
        "init_noise": job.init_noise,
        "color": job.color.deciding,
        "transport": job.compute.transport if job.compute.transport == "half" else "",
        "background": "" if job.alpha.background == "white" else job.alpha.background,
    }
    return {
        "content": file_sha256(job.content),
        "styles": _styles(job),
        "size": _size_request(job.output),
        "method": job.method,
        "network": _deciding(job.network)
        | {"weights": {"sha256": file_sha256(weights)} if isinstance(weights, Path) else weights},
        "objective": _deciding(job.objective),
        "pyramid": _deciding(job.pyramid),
        "tiles": _deciding(job.tiles),
        "optimizer": _deciding(job.optimizer),
        "init": {"sha256": file_sha256(job.init)} if isinstance(job.init, Path) else job.init,
        "seed": job.seed,
        "precision": job.compute.precision,
    } | {key: value for key, value in later.items() if value}


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


def _styles(job: Job) -> list[dict[str, Any]]:
    """The styles; with masks also which of them share a region, since two files may hold the same mask."""
    styles = [_deciding(style) | _files(style) for style in job.styles]
    if is_masked(job):
        for region, members in enumerate(regions_of(job)):
            for number in members.styles:
                styles[number]["region"] = region
    return styles


def _files(style: Style) -> dict[str, str]:
    files = {"sha256": style.image, "mask": style.mask, "style_mask": style.style_mask}
    return {key: file_sha256(path) for key, path in files.items() if path is not None}


def _deciding(section: Section) -> dict[str, Any]:
    """What a section adds: values ready for JSON, without paths and without later keys at their default."""
    first = _FIRST_KEYS.get(type(section), frozenset())
    changed = section.model_dump(mode="json", exclude_defaults=True)
    values = section.model_dump(mode="json", include=set(first)) | changed
    return {key: value for key, value in values.items() if not isinstance(getattr(section, key), Path)}


def _size_request(output: Output) -> dict[str, object]:
    """The request in pixels: prints of the same pixels are the same request, whatever their dpi."""
    if output.print is not None:
        return output.print.deciding(output.dpi)
    for key in ("width", "height", "long_side"):
        if (pixels := getattr(output, key)) is not None:
            return {key: pixels}
    return {"content": True}
