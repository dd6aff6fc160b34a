"""A plan's sheet in words: how large it is, what of the content it shows, and what enlarging that means."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tilefarm.geometry import Size
from tilefarm.plan.build import RenderPlan
from tilefarm.spec.output import Output
from tilefarm.spec.paper import Length, Print

MOST_ENLARGED = 3.0
"""Beyond it a warning: of 300 dpi less than 100 are the photograph's, which is about what eyes resolve at a
distance of 90 cm (a minute of arc)."""
_CM_PER_INCH = 2.54
_DECIMALS = {"cm": 1, "mm": 0, "in": 2}


def sheet_line(output: Output, plan: RenderPlan) -> str:
    """The sheet, and the content on it, in one line."""
    dpi, size = output.dpi, plan.output
    if output.print is None:
        width, height = (f"{side / dpi * _CM_PER_INCH:.1f}" for side in (size.width, size.height))
        text = f"{_pixels(size)} at {dpi:g} dpi are {width} x {height} cm on paper"
    else:
        bleed = output.print.bleed
        cut = f" with {bleed.amount:f} {bleed.unit} bleed" if bleed.amount else ""
        text = f"prints {_lengths(output.print)} at {dpi:g} dpi{cut}: {_pixels(size)}"
    return f"{text}; {_shown(output, plan)}"


def size_notes(output: Output, plan: RenderPlan) -> Iterator[str]:
    """What is cut off, and a warning where the content is enlarged more than 3 times."""
    shown, factor = plan.crop.size, plan.view.factor
    if shown != plan.content:
        yield (
            f"content: only the middle {shown} of {plan.content} fits the print's shape; "
            "output.print.fit: pad shows all of it"
        )
    if factor <= MOST_ENLARGED:
        return
    less = MOST_ENLARGED / factor
    better = Size(*(math.ceil(side / less) for side in (plan.content.width, plan.content.height)))
    yield (
        f"content: is enlarged {factor:.1f} times: at {output.dpi:g} dpi the photograph itself has only "
        f"{output.dpi / factor:.0f} dpi, so edges are soft where no brush strokes hide it, and fine detail "
        f"is the painting's alone; {_ways(output, plan, less)} or a photograph of {better} stays within "
        f"{MOST_ENLARGED:g} times"
    )


def _shown(output: Output, plan: RenderPlan) -> str:
    view, crop = plan.view, plan.crop.size
    if crop != plan.content:
        text = f"the content's middle {_pixels(crop)} are shown, {_scale(view.factor)}"
    else:
        text = f"all of the content, {_pixels(crop)}, is shown, {_scale(view.factor)}"
    if plan.sheet.margin is not None and output.print is not None:
        return f"{text}, with plain paper around it ({output.print.pad})"
    if view.place.size != view.canvas:
        return f"{text}, and goes on mirrored around {_pixels(view.place.size)}"
    return text


def _scale(factor: float) -> str:
    if abs(factor - 1) < 0.005:
        return "at its own size"
    if abs(factor - 1) < 0.05:
        return "at nearly its own size"
    return f"enlarged {factor:.1f} times" if factor > 1 else f"reduced {1 / factor:.1f} times"


def _ways(output: Output, plan: RenderPlan, less: float) -> str:
    """What to ask for so that the content is enlarged `less` times what it is now."""
    if output.print is None:
        crop = plan.crop.size
        most = (int(MOST_ENLARGED * side) for side in (crop.width, crop.height))
        return f"an output of {Size(*most)}"
    paper = output.print
    sides = " x ".join(_shorter(length, less) for length in (paper.width, paper.height))
    return f"a print of {sides}, output.print.dpi: {max(1, int(output.dpi * less))}"


def _shorter(length: Length, share: float) -> str:
    ten = 10 ** _DECIMALS[length.unit]
    return f"{math.floor(float(length.amount) * share * ten) / ten:g}{length.unit}"


def _lengths(paper: Print) -> str:
    if paper.width.unit == paper.height.unit:
        return f"{paper.width.amount:f} x {paper.height.amount:f} {paper.width.unit}"
    return f"{paper.width} x {paper.height}"


def _pixels(size: Size) -> str:
    return f"{size.width} x {size.height} px"
