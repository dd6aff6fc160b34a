"""The picture that a run starts from: the canvas of its coarsest level."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilefarm.colour.moments import Moments, mixture, square_root
from tilefarm.colour.transfer import Raw, moments_of, to_grey
from tilefarm.files import replacing, reserve, telling_when_full
from tilefarm.geometry import Size, View
from tilefarm.image.mirror import write_view
from tilefarm.image.window import RAW_DTYPE, open_raw, raw_bytes
from tilefarm.prepare import Prepared
from tilefarm.spec.sheet import centred, nearer

NOISE_MEAN, NOISE_DEVIATION = 0.5, 0.15
"""Of `init: noise`: mid grey with some contrast, nearly all of it inside 0..1."""
_MIXED_IN = 1
"""Sets the noise that is mixed into a start apart from the noise that is one."""

Row = NDArray[np.float64]


def write_start(prepared: Prepared, content: Path, styles: Sequence[Raw], target: Path) -> None:
    """Write the start that the job asks for as a raw canvas of the coarsest level's size.

    `content` is the raw content at that size and `styles` the raw styles, both with the colours that the
    level works with. Raises ResourceError where the disk is full.
    """
    job, size = prepared.job, prepared.plan.levels[0].size
    if job.init == "content":
        with telling_when_full(target), replacing(target) as temporary:
            shutil.copyfile(content, temporary)
    elif job.init == "noise":
        write_noise(target, size, job.seed)
    elif job.init == "style_statistics":
        moments = [moments_of(style) for style in styles]
        write_coloured_noise(target, size, job.seed, mixture(moments, [style.weight for style in job.styles]))
    else:
        if prepared.start is None:
            raise ValueError("a job that starts from a picture was prepared without it")
        write_view(prepared.start, start_view(prepared.start.size, prepared.plan.view), size, target)
    if job.init_noise:
        mix_noise(target, size, job.seed, job.init_noise)
    if job.color.grey:
        to_grey(Raw(target, size), target)


def start_view(start: Size, content: View) -> View:
    """How a picture of this size is laid out as a start.

    It is cut in the middle to the content's place on the canvas, or to the whole canvas, whichever has the
    nearer shape. On the content's place it goes on mirrored as the content does.
    """
    place = content.place.size
    if nearer(start, place, content.canvas):
        return replace(content, crop=centred(start, place))
    return View.filling(centred(start, content.canvas), content.canvas)


def write_noise(path: Path, size: Size, seed: int) -> None:
    """A raw canvas of seeded noise, written row by row."""
    generator = np.random.default_rng(seed)
    _write_rows(path, size, lambda y: _noise(generator, size.width))


def write_coloured_noise(path: Path, size: Size, seed: int, moments: Moments) -> None:
    """A raw canvas of seeded Gaussian noise with this mean and covariance of colours, nothing clipped."""
    generator = np.random.default_rng(seed)
    root = square_root(moments.covariance)

    def row(y: int) -> Row:
        channels = generator.standard_normal((size.width, 3)).T
        mixed = [a * channels[0] + b * channels[1] + c * channels[2] for a, b, c in root]
        colours: Row = np.stack(mixed, axis=1) + moments.mean
        return colours

    _write_rows(path, size, row)


def mix_noise(path: Path, size: Size, seed: int, share: float) -> None:
    """Replace a raw canvas by (1 - share) of itself and `share` of seeded noise."""
    generator = np.random.default_rng([_MIXED_IN, seed])

    def row(y: int) -> Row:
        own = np.array(open_raw(path, size)[y], dtype=np.float64)
        mixed: Row = (1 - share) * own + share * _noise(generator, size.width)
        return mixed

    _write_rows(path, size, row)


def _noise(generator: np.random.Generator, width: int) -> Row:
    row: Row = np.clip(generator.normal(NOISE_MEAN, NOISE_DEVIATION, (width, 3)), 0, 1)
    return row


def _write_rows(path: Path, size: Size, row: Callable[[int], Row]) -> None:
    with telling_when_full(path), replacing(path) as temporary:
        reserve(temporary, raw_bytes(size))
        with temporary.open("r+b") as file:
            for y in range(size.height):
                file.write(row(y).astype(RAW_DTYPE).tobytes())
