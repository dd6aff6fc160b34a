"""From a raw canvas to the integers and the metadata of a file, as a recipe that libvips streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyvips

from tilefarm.geometry import Size
from tilefarm.image.engine import quantised, raw_image
from tilefarm.image.profiles import converted, load_profile, tagged
from tilefarm.output.dither import dithered
from tilefarm.spec.file_form import FileForm

_MM_PER_INCH = 25.4


@contextmanager
def finished_pixels(
    source: Path, size: Size, form: FileForm, alpha: Path | None = None, xmp: bytes | None = None
) -> Iterator[pyvips.Image]:
    """The raw canvas as `form` asks for it: converted, clipped, dithered or rounded, RGB or RGBA.

    It carries its profile, its resolution and `xmp`. To be used inside the block only.
    """
    resolution = form.dpi / _MM_PER_INCH  # libvips counts in pixels per millimetre
    white = 2**form.bit_depth - 1
    with ExitStack() as stack:
        image = stack.enter_context(raw_image(source, size))
        profile = load_profile(form.profile)
        device = converted(image, profile, form.intent, wide=form.wide)
        picture = quantised(device, white)
        if form.dither:
            noisy = dithered(device, form.seed)
            # In another profile black may lie a little beside 0; noise would make specks of that.
            picture = noisy if profile.is_srgb else _is_pure(image).ifthenelse(picture, noisy)
        if alpha is not None:
            clear = quantised(stack.enter_context(raw_image(alpha, size)), white)
            picture = picture.bandjoin(clear.extract_band(0))
        picture = tagged(picture, profile).copy(xres=resolution, yres=resolution)
        if xmp is not None:
            picture.set_type(pyvips.GValue.blob_type, "xmp-data", xmp)
        yield picture


def _is_pure(image: pyvips.Image) -> pyvips.Image:
    """255 where a pixel is black or white, or beyond, else 0: one band."""
    return (image <= 0).bandand() | (image >= 1).bandand()
