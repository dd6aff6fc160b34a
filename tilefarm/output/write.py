"""The finished picture: a raw canvas converted, rounded and streamed into TIFF, PNG, JPEG or WebP."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tilefarm import faults
from tilefarm.errors import TilefarmError
from tilefarm.files import remove_leftovers, replacing
from tilefarm.geometry import Size
from tilefarm.image.engine import saving
from tilefarm.image.window import open_raw, raw_bytes
from tilefarm.output.check import check_output
from tilefarm.output.encode import encode
from tilefarm.output.pixels import finished_pixels
from tilefarm.spec.file_form import FileForm

_BLOCK_BYTES = 1 << 24


def write_output(
    source: Path,
    size: Size,
    target: Path,
    form: FileForm,
    alpha: Path | None = None,
    xmp: bytes | None = None,
) -> None:
    """Write a raw canvas as a print-ready file with its profile, its resolution and `xmp`.

    `alpha` is a raw canvas of the same size with the transparency in all channels; the file then has a
    fourth one, and the colours are not multiplied with it (all formats but JPEG). Values are converted to
    the form's profile, clipped to 0..1 and rounded to the nearest step, or dithered. The file is written
    beside `target`, reopened and checked, and only then renamed; the same canvas gives the same bytes.
    Memory does not grow with the picture, except by what a WebP encoder holds. Raises TilefarmError where
    the canvas holds NaN or infinity, where it has another size, or where the check fails; ResourceError
    where the disk is full.
    """
    if form.format == "jpeg" and alpha is not None:
        raise ValueError("JPEG has no transparency")
    _check_finite(source, size)
    remove_leftovers(target)
    with replacing(target) as temporary:
        with saving(target), finished_pixels(source, size, form, alpha, xmp) as picture:
            encode(picture, temporary, form)
        faults.reached("export: picture written")
        check_output(temporary, size, form, alpha=alpha is not None)
        faults.reached("export: picture checked")
    faults.reached("export: picture replaced")


def _check_finite(source: Path, size: Size) -> None:
    rows = max(1, _BLOCK_BYTES // raw_bytes(Size(size.width, 1)))
    for top in range(0, size.height, rows):
        block = open_raw(source, size)[top : top + rows]  # mapped anew: one block at a time is ours
        finite = np.isfinite(block)
        if not finite.all():
            y, x, _ = np.argwhere(~finite)[0]
            raise TilefarmError(
                f"the canvas {source} is not finite at x={x}, y={top + y}, so no picture was written; "
                "please report this with the run folder"
            )
