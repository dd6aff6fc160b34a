"""`submit --from IMAGE`: a job out of the record that a picture carries, to render it again.

The picture may be a stranger's. Its record is checked like a job file; it can name files only where
`_candidates` looks, by a SHA-256 that they must have, and it cannot say where to write.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tilefarm
from tilefarm.batch import Entry, Group
from tilefarm.errors import JobError
from tilefarm.files import new_name
from tilefarm.image.engine import open_picture
from tilefarm.provenance import Record, files_of, put, read_record
from tilefarm.rundir.find import run_folder
from tilefarm.spec.fingerprint import file_sha256
from tilefarm.spec.load import checked_job, parse_all
from tilefarm.spec.model import Job
from tilefarm.spec.overrides import Override, apply
from tilefarm.spec.paths import OUTPUT_FORMATS
from tilefarm.spec.sweep import Sweep
from tilefarm.spec.yaml_source import Document, Location, check_name

_KEPT_IN_ALL_FORMATS = ("width", "height", "long_side", "print", "dpi", "profile", "intent", "provenance")


Tell = Callable[[str], object]
"""Is given what the owner of a picture should know before it is rendered again, a sentence each."""


def load_again(
    image: Path, overrides: Sequence[str] = (), run_dir: Path | None = None, tell: Tell = str
) -> Group:
    """The one run of `submit --from`; its folder is in `run_dir`, or in runs/ beside the picture."""
    job = job_from(image, overrides, tell)
    runs = (run_dir or image.parent / "runs").absolute()
    return Group(image, job.name, (Entry(image, job, run_folder(job, runs)),))


def sweep_from(image: Path, overrides: Sequence[str] = (), tell: Tell = str) -> Sweep:
    """The same as the runs of a job file."""
    job = job_from(image, overrides, tell)
    return Sweep(job.name, (job,), (), ((),))


def job_from(image: Path, overrides: Sequence[str] = (), tell: Tell = str) -> Job:
    """The job that a picture was made by, with these overrides (`key.path=value`) written into it.

    Its inputs are looked for at their recorded places, seen from the picture's folder, and by their names in
    the folder above; relative paths of overrides start at the picture's folder. The output is a new file
    beside the picture. Raises JobError with every problem that was found.
    """
    check_name(image)
    record = read_record(image)
    parsed, problems = parse_all(overrides)
    data = copy.deepcopy(record.job)
    notes = [*_notes(image, record), *_without_targets(data, parsed)]
    problems += _find_inputs(data, record, parsed, image.absolute().parent)
    problems += _choose_output(data, parsed, image)
    problems += apply(data, parsed)
    if problems:  # paths that are not there would be told a second time
        raise JobError(problems)
    job = checked_job(Document(data), parsed, [], image, kept=True)
    for note in [*notes, *_strange_files(job, record, parsed, image)]:
        tell(note)
    return job


def _notes(image: Path, record: Record) -> Iterator[str]:
    """What may make the new picture another one than this."""
    then, now = (record.tilefarm, record.torch), (tilefarm.__version__, version("torch"))
    if then != now:
        yield (
            f"{image} was made by tilefarm {then[0]} with torch {then[1]}, and this is tilefarm {now[0]} "
            f"with torch {now[1]}: the new picture may differ a little"
        )
    if record.canvas != record.picture:
        small, large = ("x".join(map(str, sides)) for sides in (record.picture, record.canvas))
        yield (
            f"{image} was exported at {small} from a canvas of {large}, which is what is rendered; make the "
            "other size of the finished run with tilefarm export"
        )
    if record.recolored is not None:
        yield (
            f"{image} was given other colours afterwards ({record.recolored}), which is not done again: "
            "recolor the finished run"
        )
    header = open_picture(image)
    if [header.width, header.height] != record.picture:
        yield (
            f"{image} has {header.width}x{header.height} pixels and its record says "
            f"{'x'.join(map(str, record.picture))}: another program has changed it since"
        )


def _without_targets(data: dict[str, Any], parsed: Sequence[Override]) -> Iterator[str]:
    """Take out what says where to write: that is for the one who renders to say."""
    if isinstance(output := data.get("output"), dict):
        output.pop("path", None)
        output.pop("address", None)
    if data.get("animation") is not None:
        data["animation"] = None
        if not _given(("animation",), parsed):
            yield "its job also made an animation, which this does not; ask for one with --set animation=PATH"


def _choose_output(data: dict[str, Any], parsed: Sequence[Override], image: Path) -> Iterator[str]:
    """A new file beside the picture, unless --set names one. Another format takes its own defaults."""
    output = data.setdefault("output", {})
    if not isinstance(output, dict):
        return  # told by its own rule
    named = [str(one.value) for one in parsed if one.location == ("output", "path")]
    own, new = (
        OUTPUT_FORMATS.get(Path(name).suffix.lower()) for name in (image.name, (named or [image.name])[-1])
    )
    if named and own != new:
        for key in output.keys() - {*_KEPT_IN_ALL_FORMATS}:
            del output[key]
    elif not named and own is None:
        yield f"{image} is of a kind that is not written; give --set output.path=NAME.tif"
    elif not named:
        output["path"] = str(new_name(image.absolute(), "again"))


def _find_inputs(
    data: dict[str, Any], record: Record, parsed: Sequence[Override], folder: Path
) -> Iterator[str]:
    """Write the places of the files into the job; sentences about those that are not found."""
    for key, sha256 in record.inputs.items():
        location = _location(key)
        if _given(location, parsed):
            continue
        place = _leaf(data, location)
        if not isinstance(place, str) or not place or "\0" in place:
            yield f"{key}: the record names no file, but has a SHA-256 for one; give --set {key}=PATH"
            continue
        there = [path for path in _candidates(place, folder) if path.is_file()]
        same = [path for path in there if file_sha256(path) == sha256]
        if same:
            put(data, key, str(same[0]))
        elif there:
            yield (
                f"{key}: {there[0]} is not the file that the picture was made from (its SHA-256 is "
                f"another one); put the old one back, or take this one with --set {key}={there[0]}"
            )
        else:
            yield (
                f"{key}: {place!r} is neither in {folder} nor in the folder above it; say where it is with "
                f"--set {key}=PATH"
            )


def _candidates(place: str, folder: Path) -> list[Path]:
    """Where a file may be; nothing outside of the picture's folder and the one above."""
    relative = Path(place)
    if relative.is_absolute() or ".." in relative.parts or not relative.name:
        return []
    return [folder / relative, folder.parent / relative.name]


def _strange_files(job: Job, record: Record, parsed: Sequence[Override], image: Path) -> Iterator[str]:
    """Notes about other pictures that --set has named. Raises JobError for files that neither it nor a
    SHA-256 of the record answers for."""
    for key, path in files_of(job):
        if not _given(_location(key), parsed):
            if key not in record.inputs:
                raise JobError(
                    f"{key}: the record in {image} has no SHA-256 for this file; say which one to take with "
                    f"--set {key}=PATH"
                )
        elif key in record.inputs and file_sha256(path) != record.inputs[key]:
            yield f"{key}: {path} is another file than the one that {image} was made from"


def _given(location: Location, parsed: Sequence[Override]) -> bool:
    """Whether an override names this key or what holds it."""
    for one in parsed:
        at: Location = ("styles",) if one.location == ("style",) else one.location
        if location[: len(at)] == at:
            return True
    return False


def _location(key: str) -> Location:
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


def _leaf(data: Any, location: Location) -> Any:
    for part in location:
        if isinstance(data, Mapping) and isinstance(part, str):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data
