"""Colours of one raw picture for another: measured in one pass over bands of rows, applied in a second.

Nothing here grows with the picture but its files. Results are written beside their target and renamed;
they do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tilefarm.colour.histogram import Histogram, Matching
from tilefarm.colour.moments import LinearMap, LumaMap, Moments, MomentSums
from tilefarm.colour.pixels import (
    Pixels,
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


def transfer(mode: ColorMode, picture: Raw, content: Raw, target: Path) -> None:
    """Write the picture with colours of the content, by `mode`, as a raw canvas; `target` may be the picture.

    content_luma, content_hsv: see `pixels.with_chroma_of` and `with_hue_of`; the content must have the
    picture's size. histogram_rgb: every channel gets the content's cumulative histogram; histogram_hsv: V
    and S do, and H stays, since a circular quantity has no rank. statistics: `moments.LinearMap`. These
    three take the picture's values as they are, those outside 0..1 too, and clip none; the content's are
    clipped to 0..1 in every mode. Raises ValueError for other modes and sizes, TilefarmError where a file
    is missing or too short, ResourceError where the disk is full.
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
    for band in _bands(picture):
        sums.add(band)
    return sums.moments()


def _fitted(mode: ColorMode, picture: Raw, content: Raw) -> Callable[[Pixels], Pixels]:
    """The change of pixels that gives the picture the content's distribution of colours."""
    if mode == "statistics":
        target = MomentSums()
        for band in _bands(content):
            target.add(band.clip(0, 1))
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
    for band in _bands(picture):
        own.add(measure(band))
    for band in _bands(content):
        wanted.add(measure(band.clip(0, 1)))
    return own, wanted


def _bands(picture: Raw) -> Iterator[Pixels]:
    """The pixels in float64, (n, 3), some rows at a time."""
    width, height = picture.size.width, picture.size.height
    open_raw(picture.path, picture.size)  # for its errors; what is mapped would count as our memory
    rows = max(1, _PIXELS_PER_BAND // width)
    with picture.path.open("rb") as file:
        for top in range(0, height, rows):
            count = min(rows, height - top) * width * CHANNELS
            yield np.fromfile(file, dtype=RAW_DTYPE, count=count).reshape(-1, CHANNELS).astype(np.float64)


def _write(bands: Iterable[Pixels], size: Size, target: Path) -> None:
    with telling_when_full(target), replacing(target) as temporary:
        reserve(temporary, raw_bytes(size))
        with temporary.open("r+b") as file:
            for band in bands:
                file.write(band.astype(RAW_DTYPE).tobytes())
