"""Work that failed for good: its inputs are kept in the run folder, to be looked at and done again elsewhere.

A folder per failure: `inputs.npz` has the arrays (no pickle in it), `failure.json` everything else.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tilefarm.errors import TileFailedError, TilefarmError
from tilefarm.execute.call import Call, WorkFailedError, name_of
from tilefarm.execute.protocol import Batch, Keep
from tilefarm.files import replacing, telling_when_full, write_text
from tilefarm.geometry import Box, Size
from tilefarm.rundir.layout import RunDir
from tilefarm.solve.coding import FixedPicture, PackedPicture, ScaledPicture
from tilefarm.solve.contract import AdamSettings, LevelTargets, RegionMoments, SolverSettings
from tilefarm.solve.tasks import AdamMoments, Derivatives, MeasureTask, PieceTask, Recording, TileTask

_TASKS = (Batch, TileTask, AdamMoments, Recording, MeasureTask, PieceTask, Box, Size)
_CODED = (PackedPicture, FixedPicture, ScaledPicture)
_CONTEXTS = (Call, SolverSettings, AdamSettings, LevelTargets, RegionMoments, Derivatives, Keep)
_CLASSES: dict[str, type[Any]] = {each.__name__: each for each in (*_TASKS, *_CODED, *_CONTEXTS)}
"""Nothing else is made from a file."""
_Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Failure:
    """A call that failed, and where."""

    call: Call
    """`call.on(worker)` does it again, with any worker that has the network's weights."""
    level: int
    """Counted from 0, coarse to fine."""
    round: int
    """Counted from 0; of the exact method always 0."""
    error: str


@contextmanager
def keeping_failures(run: RunDir, level: int, round_of: Callable[[], int]) -> Iterator[None]:
    """Within the block a WorkFailedError becomes a TileFailedError that says where its inputs were saved.

    `round_of()` is the number of the round in progress at that time, counted from 0.
    """
    try:
        yield
    except WorkFailedError as error:
        number = round_of()
        task = name_of(error.call.task)
        folder = run.failed / f"level-{level:02}-round-{number:02}-{error.call.kind}-{task.replace(' ', '-')}"
        try:
            save_failure(folder, Failure(error.call, level, number, error.error))
        except (TilefarmError, OSError) as trouble:
            kept = f"its inputs could not be saved ({trouble})"
        else:
            kept = f"its inputs were saved in {folder}"
        raise TileFailedError(f"level {level + 1}, round {number + 1}: {error}; {kept}") from error


def save_failure(folder: Path, failure: Failure) -> None:
    """Write a failure into its own folder, made where it is absent. Raises ResourceError on a full disk."""
    with telling_when_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
    arrays: _Arrays = {}
    record = {
        "level": failure.level,
        "round": failure.round,
        "error": failure.error,
        "call": _plain(failure.call, arrays),
    }
    path = folder / "inputs.npz"
    with telling_when_full(path), replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **cast(dict[str, Any], arrays))
    write_text(folder / "failure.json", json.dumps(record, indent=2) + "\n")


def load_failure(folder: Path) -> Failure:
    """Read what `save_failure` wrote, bit for bit. Raises TilefarmError where that is not in the folder."""
    try:
        record = json.loads((folder / "failure.json").read_text(encoding="utf-8"))
        with (folder / "inputs.npz").open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        call = _made(record["call"], arrays)
        if not isinstance(call, Call):
            raise TypeError("no call")
        return Failure(call, int(record["level"]), int(record["round"]), str(record["error"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise TilefarmError(
            f"{folder} does not hold a saved failure ({type(error).__name__}: {error}); "
            "name a folder from a run's failed/"
        ) from error


def _plain(value: Any, arrays: _Arrays) -> Any:
    """Data for JSON; arrays go into `arrays` and their name takes their place."""
    if isinstance(value, np.ndarray):
        name = f"array-{len(arrays):04}"
        arrays[name] = value
        return {"array": name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: _plain(getattr(value, each.name), arrays) for each in dataclasses.fields(value)}
        return {"class": type(value).__name__, "fields": fields}
    if isinstance(value, dict):
        return {"dict": {key: _plain(each, arrays) for key, each in value.items()}}
    if isinstance(value, tuple):
        return [_plain(each, arrays) for each in value]
    return value


def _made(value: Any, arrays: _Arrays) -> Any:
    """What `_plain` was given."""
    if isinstance(value, list):
        return tuple(_made(each, arrays) for each in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "dict" in value:
        return {key: _made(each, arrays) for key, each in value["dict"].items()}
    fields = {name: _made(each, arrays) for name, each in value["fields"].items()}
    return _CLASSES[value["class"]](**fields)
