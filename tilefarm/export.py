"""The last step of a run: its picture in the file that the job asks for."""

from __future__ import annotations

import time

from tilefarm import faults
from tilefarm.colouring import coloured
from tilefarm.delivery import form_of_export
from tilefarm.events import Listener, Noted, RunFinished
from tilefarm.files import checksum
from tilefarm.image.margin import with_margin
from tilefarm.output.proof import proof_beside
from tilefarm.output.write import write_output
from tilefarm.prepare import Prepared
from tilefarm.provenance import Made, packet_for
from tilefarm.rundir.journal import Exported, Journal
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.transparency import kept_alpha


def export(prepared: Prepared, run: RunDir, journal: Journal, state: RunState, listen: Listener) -> None:
    """Write the finished canvas as the output file, put that on record, and remove what only painting needs.

    Raises TilefarmError as `write_output` does.
    """
    begin = time.monotonic()
    output, size = prepared.job.output, prepared.plan.output
    levels = prepared.plan.levels
    color = prepared.job.color.of_result
    with (
        coloured(prepared, run, levels[-1], color) as canvas,
        with_margin(canvas, prepared.plan.sheet, run.root) as picture,
        kept_alpha(prepared, run) as alpha,
    ):
        faults.reached("export: canvas coloured")
        xmp = None
        if output.provenance:
            made = Made(size, prepared.plan.sheet, output.print)
            xmp = packet_for(prepared.job, run, state.started, made, output.path)
        write_output(picture, size, output.path, prepared.job.form, alpha, xmp)
        if output.proof is not None:
            listen(Noted(proof_beside(picture, size, output.path, output.proof, prepared.job.form)))
    line = Exported(
        path=str(output.path),
        crc=checksum(output.path),
        seconds=time.monotonic() - begin,
        **form_of_export(prepared),
    )
    journal.append(line)
    state.apply(line)
    drop_means(prepared, run)
    run.tiles.unlink(missing_ok=True)  # the canvas is final: nothing is made from the slots again
    faults.reached("export: slots removed")
    listen(RunFinished(str(output.path), size, line.seconds))


def drop_means(prepared: Prepared, run: RunDir) -> None:
    """Remove Adam's means of all levels: the picture is done, and only painting on would need them."""
    for level in prepared.plan.levels:
        for path in run.moments(level.index):
            path.unlink(missing_ok=True)
