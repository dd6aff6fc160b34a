"""Whether a run's picture is already where it is wanted."""

from __future__ import annotations

from tilefarm.errors import JobError, TilefarmError
from tilefarm.files import checksum
from tilefarm.integrity import is_intact
from tilefarm.output.check import check_output
from tilefarm.prepare import Prepared
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.transparency import keeps_alpha


def is_done(prepared: Prepared, run: RunDir, state: RunState) -> bool:
    """Whether the output that this job asks for was written from the finished canvas and is still there.

    A damaged file is written again. Raises JobError where there is another whole picture in its place: it
    may be somebody's work.
    """
    output, sheet = prepared.job.output, prepared.plan.sheet.key
    wanted = (output.bit_depth, output.dpi, prepared.job.color.of_result, keeps_alpha(prepared), sheet)
    there = [line for line in state.exports if line.path == str(output.path)]
    exports = [
        line for line in there if (line.bit_depth, line.dpi, line.color, line.alpha, line.sheet) == wanted
    ]
    if not exports or not output.path.exists():
        return False
    crc = checksum(output.path)
    if crc != exports[-1].crc:
        if crc != there[-1].crc and _is_a_picture(prepared):
            raise JobError(
                f"{output.path} is no longer what {run.root} wrote there; move it away, or choose another "
                "output.path, and submit again: the finished picture is then written without rendering"
            )
        return False
    return is_intact(run, state, prepared.plan.levels[-1])


def _is_a_picture(prepared: Prepared) -> bool:
    """Whether the output file is a whole picture of the right form, whatever it shows."""
    output = prepared.job.output
    try:
        check_output(output.path, prepared.plan.output, output.form, alpha=keeps_alpha(prepared))
    except TilefarmError:
        return False
    return True
