"""Writing down how a run ended, for those who end it from outside its driver's own way."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tilefarm.errors import JobError, TilefarmError
from tilefarm.files import sync_folder
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.rundir.summary import read_summary, write_summary

FOREIGN_END = 1
"""The exit code of a run that says none: of an older version."""


def mark_ended(run: RunDir, status: str, message: str, exit_code: int) -> bool:
    """Put another end into run.json where it does not say "done" or "failed"; whether that was so.

    Raises TilefarmError where run.json is damaged or cannot be written.
    """
    record = read_summary(run)
    if record is None or record["status"] in ("done", "failed"):
        return False
    write_summary(run, record | {"status": status, "message": message, "exit_code": exit_code})
    return True


def outcome_of(run: RunDir) -> dict[str, Any]:
    """run.json; that the job failed where there is none to read."""
    with suppress(TilefarmError):
        if (record := read_summary(run)) is not None:
            return record
    return {"status": "failed"}


def exit_code_of(record: Mapping[str, Any]) -> int | None:
    """The exit code that the driver ended with whose run.json this is; None where it does not say so."""
    if record.get("status", "running") == "running":
        return None
    code = record.get("exit_code")
    if isinstance(code, int):
        return code
    return 0 if record["status"] == "done" else FOREIGN_END


def set_aside(run: RunDir) -> RunDir | None:
    """Rename a run folder to NAME-HASH.old-N and return it; None where no run was started there.

    Raises RunBusyError while a driver works on it, JobError where the system refuses.
    """
    if not run.root.is_dir() or not any(run.root.iterdir()):
        return None
    with RunLock(run):  # it goes with the folder: nobody begins in the old one meanwhile
        number = 1
        while (aside := run.root.with_name(f"{run.name}.old-{number}")).exists():
            number += 1
        try:
            run.root.rename(aside)
            sync_folder(aside.parent)
        except OSError as error:
            raise JobError(
                f"{run.root} cannot be moved aside ({error.strerror}); move it, or leave --fresh out"
            ) from error
    return RunDir(aside)
