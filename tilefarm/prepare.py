"""Everything that is checked before any work starts: pictures, sizes, the plan, disk and memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from tilefarm.errors import JobError, ResourceError
from tilefarm.execute.process import free_memory
from tilefarm.image.decode import MAX_INPUT_PIXELS, PictureInfo, check_decodes, inspect, with_clipped_colours
from tilefarm.masks import Masks, check_crops, read_masks
from tilefarm.output.check_animation import check_animation
from tilefarm.output.check_target import check_proof, check_target
from tilefarm.output.encode import encoder_bytes
from tilefarm.plan.build import RenderPlan, build_plan
from tilefarm.plan.estimate import Needs, needs, output_bytes
from tilefarm.plan.frames import animation_bytes, making_bytes
from tilefarm.plan.print_notes import MOST_ENLARGED, size_notes
from tilefarm.solve.contract import is_low
from tilefarm.spec.model import Job
from tilefarm.spec.notes import job_notes
from tilefarm.store.deliver import check_destination, destinations

_Result = TypeVar("_Result")
_SPARE_DISK = 256 * 2**20
_SHARE_OF_MEMORY = 0.9
"""Of the memory that is free, what `compute.memory: auto` uses at most."""


@dataclass(frozen=True)
class Prepared:
    """A job whose inputs are known to be good."""

    job: Job
    content: PictureInfo
    styles: tuple[PictureInfo, ...]
    plan: RenderPlan
    notes: tuple[str, ...]
    """What a user should know before the work starts, a sentence each."""
    start: PictureInfo | None = None
    """The picture that `init` names, if it names one."""

    masks: Masks = field(default_factory=Masks)
    """Where styles act, and which parts of them."""

    @property
    def pictures(self) -> tuple[PictureInfo, ...]:
        """All that are decoded, one after the other."""
        others = (self.start, *self.masks.regions, *self.masks.styles)
        return (self.content, *self.styles, *(picture for picture in others if picture is not None))

    def with_core(self, core: int) -> Prepared:
        """The same with pieces of the exact method of this size, where the job leaves it open."""
        sizes = [style.size for style in self.styles]
        return replace(self, plan=build_plan(self.job, self.content.size, sizes, core))


Look = Callable[[Path, str], PictureInfo]
"""Inspects and decodes a picture that has this label in messages. Raises JobError."""


def prepare(job: Job, look: Look | None = None) -> Prepared:
    """Inspect and decode every input, check the output, and plan. Raises JobError with all problems.

    `look` stands in for `readable`, where several jobs have pictures in common.
    """
    problems: list[str] = []

    def collect(check: Callable[[], _Result]) -> _Result | None:
        try:
            return check()
        except JobError as error:
            problems.extend(error.problems)
            return None

    labels = ["content", *(f"style {number}" for number in range(1, len(job.styles) + 1))]
    if len(job.styles) == 1:
        labels[1] = "style"
    paths = [job.content, *(style.image for style in job.styles)]
    if isinstance(job.init, Path):
        labels.append("init")
        paths.append(job.init)
    pictures = []
    for label, path in zip(labels, paths, strict=True):
        picture = collect(partial(look or readable, path, label))
        if picture is not None:
            kept = label == "content" and job.alpha.mode == "keep"
            flattened = picture.on(job.alpha.rgb, job.alpha.background, kept)
            pictures.append(flattened.widened() if job.color.wide else flattened)
    if problems:
        raise JobError(problems)
    content, *styles = pictures
    start = styles.pop() if isinstance(job.init, Path) else None
    sizes = [style.size for style in styles]
    masks = collect(partial(read_masks, job, content.size, sizes, look or readable)) or Masks()
    plan = collect(partial(build_plan, job, content.size, sizes))
    if plan is not None:
        collect(partial(check_crops, job, masks, plan.levels))
        alpha, memory = job.alpha.mode == "keep" and content.has_alpha, usable_memory()
        collect(partial(check_target, job.output.path, job.form, plan.output, alpha=alpha, memory=memory))
        if job.output.proof is not None:
            collect(partial(check_proof, job.output.path, job.output.proof))
        if job.animation is not None:
            collect(partial(check_animation, job.animation, len(plan.levels)))
        for key, _, address in destinations(job):
            collect(partial(check_destination, address, key))
    if plan is None or problems:
        raise JobError(problems)
    notes = (*job_notes(job), *_notes(job, labels, pictures, plan))
    return Prepared(job, content, tuple(styles), plan, notes, start, masks)


def most_workers(job: Job, required: Needs) -> int:
    """How many worker processes the memory budget allows. Raises ResourceError for none, or too few."""
    free = free_memory()
    budget, count = memory_budget(job, free), workers_within(job, required, free, required.driver_bytes)
    wanted = 1 if job.compute.workers == "auto" else job.compute.workers
    if count < wanted:
        source = "free memory" if job.compute.memory == "auto" else "compute.memory"
        total = gib(required.driver_bytes + wanted * required.worker_bytes)
        lbfgs = job.optimizer.name == "lbfgs"
        ways = "tiles.size, optimizer.history" if lbfgs else "tiles.size"
        raise ResourceError(
            f"the driver and {wanted} worker(s) with tiles of {job.tiles.side} px need {total} of memory, "
            f"and {source} allows {gib(budget)}; lower {ways} or compute.workers, "
            "or raise compute.memory"
        )
    return count


def workers_within(job: Job, required: Needs, free: int, others: int = 0) -> int:
    """How many worker processes a machine with so many bytes free holds, beside so many for others."""
    return max(0, memory_budget(job, free) - others) // required.worker_bytes


def memory_budget(job: Job, free: int) -> int:
    """What driver and workers may use of a machine with so much free memory, in bytes."""
    return round(free * _SHARE_OF_MEMORY) if job.compute.memory == "auto" else job.compute.memory


def check_disk(prepared: Prepared, root: Path, required: Needs) -> None:
    """Raise ResourceError where the run's files do not fit on the run folder's disk, or results on theirs.

    A file that is written is there twice while it replaces the one before.
    """
    job, output = prepared.job, prepared.plan.output
    there = sum(file.stat().st_blocks * 512 for file in root.rglob("*.f32"))  # of a resumed run
    short = [_shortage("the run", root, required.disk_bytes + _SPARE_DISK - there, "--run-dir")]
    picture = output_bytes(output, job.form, job.alpha.mode == "keep")
    results = [(job.output.path, picture, "output.path")]
    if job.animation is not None:
        results.append((job.animation.path, animation_bytes(job.animation), "animation.path"))
    for path, size, key in results:
        if _device(path.parent) != _device(root):
            short.append(_shortage(f"writing {path.name}", path.parent, size, key))
    if problems := [text for text in short if text is not None]:
        raise ResourceError("; ".join(problems))


def _shortage(what: str, folder: Path, size: int, key: str) -> str | None:
    free = shutil.disk_usage(_existing(folder)).free
    if free >= size:
        return None
    return (
        f"{what} needs {gib(size)} in {folder} and the disk has {gib(free)} free; "
        f"free some space, or choose another disk with {key}"
    )


def _device(folder: Path) -> int:
    return _existing(folder).stat().st_dev


def _existing(folder: Path) -> Path:
    """The folder, or the one in which it will be made."""
    while not folder.exists():
        folder = folder.parent
    return folder


def estimate(prepared: Prepared, precision: str | None = None) -> Needs:
    """The run's needs in a precision; None: the one that the job fixes, else float32, the larger one."""
    job = prepared.job
    batch = 1 if job.tiles.batch == "auto" else job.tiles.batch
    low = is_low(precision or job.compute.precision)
    required = needs(job, prepared.plan, batch, low_precision=low)
    channels = 4 if job.alpha.mode == "keep" and prepared.content.has_alpha else 3
    coders = [encoder_bytes(job.form, prepared.plan.output, channels)]
    coders += [picture.decoder_bytes for picture in prepared.pictures]
    return replace(
        required,
        driver_bytes=required.driver_bytes + max(coders),
        disk_bytes=required.disk_bytes + making_bytes(job, prepared.plan),
    )


def gib(size: float) -> str:
    """A size in bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def usable_memory() -> int:
    """What one step may take of the memory that is free, in bytes."""
    return round(free_memory() * _SHARE_OF_MEMORY)


def readable(path: Path, label: str, most_pixels: int = MAX_INPUT_PIXELS) -> PictureInfo:
    """A picture whose every pixel decodes, and can be decoded in the memory that is free. Raises JobError."""
    info = inspect(path, label, most_pixels)
    room = usable_memory()
    if info.decoder_bytes > room:
        raise JobError(
            f"{label}: {path} can only be decoded as a whole, which takes {gib(info.decoder_bytes)} of "
            f"memory, of which {gib(room)} may be used; save it as JPEG or PNG that is not interlaced"
        )
    check_decodes(info)
    return with_clipped_colours(info)


def _notes(job: Job, labels: list[str], pictures: list[PictureInfo], plan: RenderPlan) -> tuple[str, ...]:
    notes = [
        f"{label}: {note}" for label, picture in zip(labels, pictures, strict=True) for note in picture.notes
    ]
    notes += size_notes(job.output, plan)
    finest = plan.levels[-1].styles
    for label, picture, size in zip(labels[1:], pictures[1:], finest, strict=False):  # init comes last
        if (factor := size.width / picture.size.width) > MOST_ENLARGED:
            notes.append(f"{label}: is enlarged {factor:.1f} times; a larger scan gives finer strokes")
    return tuple(notes)
