"""The colours of a run's pictures: of its content and styles before they are measured, of its canvases after.

Canvases on record are never changed. A coloured one is a working file, made from the canvas whenever it is
needed: so a killed run cannot colour anything twice, and the step can be redone on a finished run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tilefarm.colour.transfer import Raw, match_luma, to_grey, transfer
from tilefarm.image.mirror import write_view
from tilefarm.plan.build import LevelPlan
from tilefarm.prepare import Prepared
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.color import Color, ColorMode


def colour_content(color: Color, content: Raw) -> None:
    """Reduce a level's raw content to its luma where the brightness alone is painted."""
    if color.grey:
        to_grey(content, content.path)


def colour_style(color: Color, style: Raw, content: Raw) -> None:
    """Give a raw style the content's colours, or brightness alone, where they are matched before the work."""
    if color.grey:
        match_luma(style, content, style.path)
    elif color.of_styles != "style":
        transfer(color.of_styles, style, content, style.path)


@contextmanager
def coloured(prepared: Prepared, run: RunDir, level: LevelPlan, mode: ColorMode) -> Iterator[Path]:
    """A finished level's canvas with colours of the content, in a working file.

    It is removed after the block; what a killed process leaves of it begins with a dot and goes when the
    run goes on. For mode `style` it is the canvas itself, untouched.
    """
    canvas = run.canvas(level.index)
    if mode == "style":
        yield canvas
        return
    with TemporaryDirectory(dir=run.root, prefix=".color.") as folder:
        content, result = Path(folder) / "content.f32", Path(folder) / "result.f32"
        write_view(prepared.content, prepared.plan.view, level.size, content)
        transfer(mode, Raw(canvas, level.size), Raw(content, level.size), result)
        content.unlink()
        yield result
