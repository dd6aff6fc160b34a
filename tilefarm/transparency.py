"""The content's transparency on its way into the output file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tilefarm.image.margin import with_margin
from tilefarm.image.mirror import write_view
from tilefarm.prepare import Prepared
from tilefarm.rundir.layout import RunDir


def keeps_alpha(prepared: Prepared) -> bool:
    """Whether the output has a fourth channel: the job asks for it and the content has one."""
    return prepared.job.alpha.mode == "keep" and prepared.content.has_alpha


@contextmanager
def kept_alpha(prepared: Prepared, run: RunDir) -> Iterator[Path | None]:
    """The content's alpha at the output's size as a raw canvas of three equal channels; None for none.

    It goes on with the content; a margin of paper is solid.

    It is a working file, removed after the block; what a killed process leaves of it begins with a dot and
    goes when the run goes on.
    """
    if not keeps_alpha(prepared):
        yield None
        return
    view, sheet = prepared.plan.view, prepared.plan.sheet
    with TemporaryDirectory(dir=run.root, prefix=".alpha.") as folder:
        path = Path(folder) / "alpha.f32"
        write_view(prepared.content, view, view.canvas, path, part="alpha")
        with with_margin(path, sheet.solid, Path(folder)) as alpha:
            yield alpha
