"""MP4 with H.264, by PyAV, which is an optional part of the installation."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilefarm.files import telling_when_full
from tilefarm.geometry import Size

MP4_RATE = 25
MP4_BITS_PER_SECOND = 12_000_000
"""At most, over any second or so: the file has at most 1.5 MB for each second."""
_ENCODER = "libx264"
_QUALITY = "18"
"""x264's constant rate factor: visually without loss."""
_BT709 = 1
_LIMITED_RANGE = 1


def missing_encoder() -> str | None:
    """Why no MP4 can be written here, as the end of a sentence; None where one can."""
    try:
        importlib.import_module("av.codec").Codec(_ENCODER, "w")
    except ImportError:
        return "needs PyAV, which is not installed: pip install 'tilefarm[video]', or name a .gif file"
    except ValueError:  # PyAV's errors of unknown codecs are ValueErrors
        return f"needs a PyAV with the encoder {_ENCODER}, which this one lacks; name a .gif file"
    return None


def even(size: Size) -> Size:
    """The next smaller size that H.264 with colours at half resolution can have, at least 2x2."""
    return Size(max(2, size.width // 2 * 2), max(2, size.height // 2 * 2))


def write_mp4(frames: Iterator[NDArray[np.uint8]], size: Size, hold: float, target: Path) -> int:
    """Write frames, each (height, width, 3) of an even size, and return how many there are in the file.

    The last is repeated for `hold` seconds. Colours are BT.709. Raises ResourceError where the disk is full.
    """
    av: Any = importlib.import_module("av")
    count = 0
    with (
        telling_when_full(target),
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        stream = _stream(container, size)
        picture = None
        for picture in frames:
            container.mux(stream.encode(_frame(av, picture, count)))
            count += 1
        for _ in range(round(hold * MP4_RATE)):
            container.mux(stream.encode(_frame(av, picture, count)))
            count += 1
        container.mux(stream.encode())
    return count


def _stream(container: Any, size: Size) -> Any:
    most = str(MP4_BITS_PER_SECOND)
    options = {"crf": _QUALITY, "maxrate": most, "bufsize": most, "preset": "medium"}
    stream = container.add_stream(_ENCODER, rate=MP4_RATE, options=options)
    stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    return stream


def _frame(av: Any, picture: Any, number: int) -> Any:
    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = rgb.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
    frame.pts, frame.time_base = number, Fraction(1, MP4_RATE)
    return frame
