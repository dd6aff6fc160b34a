"""Whether a run's picture is already where it is wanted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tilefarm.errors import JobError, TilefarmError
from tilefarm.files import checksum
from tilefarm.integrity import is_intact
from tilefarm.output.check import check_output
from tilefarm.prepare import Prepared
from tilefarm.rundir.journal import Exported
from tilefarm.rundir.layout import RunDir
from tilefarm.rundir.state import RunState
from tilefarm.spec.fingerprint import file_sha256
from tilefarm.transparency import keeps_alpha


def is_done(prepared: Prepared, run: RunDir, state: RunState) -> bool:
    """Whether the output that this job asks for was written from the finished canvas and is still there.

    A damaged file is written again. Raises JobError where there is another whole picture in its place: it
    may be somebody's work.
    """
    output = prepared.job.output
    wanted = form_of_export(prepared)
    there = [line for line in state.exports if line.path == str(output.path)]
    exports = [line for line in there if line.model_dump(include=set(wanted)) == wanted]
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


def form_of_export(prepared: Prepared) -> dict[str, Any]:
    """Everything that decides the bytes of the job's output file beside its path and the canvas, as fields of
    a journal's line. Raises JobError where the profile's file cannot be read."""
    job = prepared.job
    form = asdict(job.form)
    profile = job.output.profile
    if isinstance(profile, Path):
        form["profile"] = file_sha256(profile)
    kept = {key: value for key, value in form.items() if key in Exported.model_fields}
    kept["sheet"] = prepared.plan.sheet.key
    return kept | {
        "color": job.color.of_result,
        "alpha": keeps_alpha(prepared),
        "provenance": job.output.provenance,
    }


def _is_a_picture(prepared: Prepared) -> bool:
    """Whether the output file is a whole picture of the right form, whatever it shows."""
    output = prepared.job.output
    try:
        check_output(output.path, prepared.plan.output, prepared.job.form, alpha=keeps_alpha(prepared))
    except TilefarmError:
        return False
    return True
