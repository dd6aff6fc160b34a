"""Colours of one raw picture for another: measured in one pass over bands of rows, applied in a second.

Nothing here grows with the picture but its files. Results are written beside their target and renamed;
they do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from tilefarm.colour.histogram import Histogram, Matching
from tilefarm.colour.moments import LinearMap, LumaMap, Moments, MomentSums
from tilefarm.colour.pixels import (
    Pixels,
    Shares,
    grey,
    luma,
    value_and_saturation,
    with_chroma_of,
    with_hue_of,
    with_value_and_saturation,
)
from tilefarm.files import replacing, reserve, telling_when_full
from tilefarm.geometry import Size
from tilefarm.image.window import CHANNELS, RAW_DTYPE, open_raw, raw_bytes
from tilefarm.spec.color import ColorMode

_PIXELS_PER_BAND = 1 << 16
"""1.5 MiB in float64, and a few times that for what is made of it."""
_PIXELWISE: dict[ColorMode, Callable[[Pixels, Pixels], Pixels]] = {
    "content_luma": with_chroma_of,
    "content_hsv": with_hue_of,
}


@dataclass(frozen=True)
class Raw:
    """A raw canvas (`image.window`) and its size."""

    path: Path
    size: Size
    shares: Path | None = None
    """A raw file of (height, width), how much each pixel counts where it is measured; None: all alike."""


def transfer(mode: ColorMode, picture: Raw, content: Raw, target: Path) -> None:
    """Write the picture with colours of the content, by `mode`, as a raw canvas; `target` may be the picture.

    content_luma, content_hsv: see `pixels.with_chroma_of` and `with_hue_of`; the content must have the
    picture's size. histogram_rgb: every channel gets the content's cumulative histogram; histogram_hsv: V
    and S do, and H stays, since a circular quantity has no rank. statistics: `moments.LinearMap`. These
    three take the picture's values as they are, those outside 0..1 too, and clip none; the content's are
    clipped to 0..1 in every mode. Pixels that do not count in what is measured are changed like all
    others. Raises ValueError for other modes and sizes, TilefarmError where a file is missing or too
    short, ResourceError where the disk is full.
    """
    if mode in _PIXELWISE:
        if picture.size != content.size:
            raise ValueError(f"{mode} needs a content of {picture.size}, got {content.size}")
        combine = _PIXELWISE[mode]
        pairs = zip(_bands(picture), _bands(content), strict=True)
        _write((combine(own, other) for own, other in pairs), picture.size, target)
        return
    change = _fitted(mode, picture, content)
    _write((change(band) for band in _bands(picture)), picture.size, target)


def to_grey(picture: Raw, target: Path, change: Callable[[Pixels], Pixels] = lambda values: values) -> None:
    """Write the picture's luma, changed by a function of (n,), in all three channels; equal to the bit."""
    _write((grey(change(luma(band))) for band in _bands(picture)), picture.size, target)


def match_luma(style: Raw, content: Raw, target: Path) -> None:
    """Write the style's luma with mean and deviation of the content's, in all three channels."""
    to_grey(style, target, LumaMap.between(moments_of(style), moments_of(content)))


def moments_of(picture: Raw) -> Moments:
    """Mean and covariance of the colours."""
    sums = MomentSums()
    for band, shares in _counted(picture):
        sums.add(band, shares)
    return sums.moments()


def _fitted(mode: ColorMode, picture: Raw, content: Raw) -> Callable[[Pixels], Pixels]:
    """The change of pixels that gives the picture the content's distribution of colours."""
    if mode == "statistics":
        target = MomentSums()
        for band, shares in _counted(content):
            target.add(band.clip(0, 1), shares)
        return LinearMap.between(moments_of(picture), target.moments())
    if mode == "histogram_rgb":
        return Matching(*_histograms(picture, content, lambda band: band, 3), 3)
    if mode == "histogram_hsv":
        matching = Matching(*_histograms(picture, content, value_and_saturation, 2), 2)
        return lambda band: with_value_and_saturation(band, matching(value_and_saturation(band)))
    raise ValueError(f"{mode} gives a picture no other colours")


def _histograms(
    picture: Raw, content: Raw, measure: Callable[[Pixels], Pixels], channels: int
) -> tuple[Histogram, Histogram]:
    own, wanted = Histogram(channels), Histogram(channels)
    for band, shares in _counted(picture):
        own.add(measure(band), shares)
    for band, shares in _counted(content):
        wanted.add(measure(band.clip(0, 1)), shares)
    return own, wanted


def _counted(picture: Raw) -> Iterator[tuple[Pixels, Shares | None]]:
    """The pixels as `_bands` gives them, with how much each counts, (n,)."""
    if picture.shares is None:
        return zip(_bands(picture), repeat(None), strict=False)
    shares = (band[:, 0] for band in _rows(picture.shares, picture.size, 1))
    return zip(_bands(picture), shares, strict=True)


def _bands(picture: Raw) -> Iterator[Pixels]:
    """The pixels in float64, (n, 3), some rows at a time."""
    return _rows(picture.path, picture.size, CHANNELS)


def _rows(path: Path, size: Size, channels: int) -> Iterator[Pixels]:
    """A raw file in float64, (n, channels), some rows at a time."""
    open_raw(path, size, channels=channels)  # for its errors; what is mapped would count as our memory
    rows = max(1, _PIXELS_PER_BAND // size.width)
    with path.open("rb") as file:
        for top in range(0, size.height, rows):
            count = min(rows, size.height - top) * size.width * channels
            yield np.fromfile(file, dtype=RAW_DTYPE, count=count).reshape(-1, channels).astype(np.float64)


def _write(bands: Iterable[Pixels], size: Size, target: Path) -> None:
    with telling_when_full(target), replacing(target) as temporary:
        reserve(temporary, raw_bytes(size))
        with temporary.open("r+b") as file:
            for band in bands:
                file.write(band.astype(RAW_DTYPE).tobytes())
