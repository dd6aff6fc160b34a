"""The farm file: the machines that a simulation imagines, in YAML, with every mistake told at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tilefarm.errors import JobError
from tilefarm.solve.contract import Precision
from tilefarm.spec.problems import is_echo, sentence
from tilefarm.spec.section import Conflict, Section
from tilefarm.spec.values import Number
from tilefarm.spec.yaml_source import Document, Location, parse, read_job_text

Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class Driver(Section):
    """The machine that the canvas and the optimizer are on."""

    link_mbit: Positive = 10_000.0
    """Of its network, each way."""
    memory_gib: Positive = 16.0
    """What can keep files in memory. An optimizer whose vectors need more is streamed from the disk."""
    disk_mb_s: Positive = 500.0
    """Reading, or writing and waiting for the disk."""
    vectors_mb_s: Positive = 1500.0
    """Of arithmetic on vectors that are in memory: bytes read and written."""
    pixels_mb_s: Positive = 700.0
    """Of reading, checking, adding and sending pictures of pieces: bytes through its one thread."""
    call_seconds: NotNegative = 0.002
    """Of its time for every call, whatever its size."""
    sync_seconds: NotNegative = 0.002
    """For every commit to the disk, whatever its size."""
    megapixels_s: Positive = 10.0
    """Decoding, resizing and writing pictures."""
    start_seconds: NotNegative = 8.0
    """Until the first worker works."""


class Node(Section):
    """Machines of one kind."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "node"
    count: Count = 1
    workers: Count = 1
    """On each machine: one per GPU, or per group of up to 8 cores."""
    device: Literal["cpu", "cuda"] = "cuda"
    precision: Precision = "bfloat16"
    """What `compute.precision: auto` means there."""
    memory_gib: Positive = 16.0
    """Of each GPU; of the machine where the device is cpu."""
    main_memory_gib: Positive = 64.0
    """Of a machine with GPUs."""
    megapixel_steps_s: Positive | None = None
    """Millions of pixels that one worker sends forward and backward through the network in a second."""
    tflops: Positive | None = None
    """The same in arithmetic, as sustained and not as advertised: 1.44 TFLOP a megapixel step with vgg19."""
    vectors_mb_s: Positive = 1500.0
    """Of a worker's arithmetic on vectors: bytes read and written."""
    call_seconds: NotNegative = 0.0
    """Of a worker's time for every call, whatever its size."""
    first_call_seconds: NotNegative = 0.0
    """More for the first call of a worker's process: code is loaded, kernels are chosen."""
    link_mbit: Positive | None = None
    """Of one machine's network, each way. None: it is the driver's own machine, and nothing is sent."""
    latency_ms: NotNegative = 1.0
    """Of a message."""
    failures_per_hour: NotNegative = 0.0
    """Of one worker."""
    restart_seconds: NotNegative = 60.0
    """Until a worker that failed works again."""
    joins_after_seconds: NotNegative = 0.0
    """When the machine joins the run."""

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """A worker has one speed."""
        speeds = [key for key in ("megapixel_steps_s", "tflops") if given.get(key) is not None]
        if not speeds:
            yield Conflict(
                ("megapixel_steps_s",),
                "is missing; give it, or tflops: 'tilefarm simulate --calibrate' times it",
            )
        elif len(speeds) > 1:
            yield Conflict(
                ("tflops",), "cannot be given together with megapixel_steps_s; leave one of them out"
            )


class FarmFile(Section):
    """A farm as it is imagined."""

    driver: Driver = Driver()
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=1000, strict=False)]

    @classmethod
    def conflicts(cls, given: Mapping[str, Any], folder: Path | None) -> Iterator[Conflict]:
        """Somebody must be there when the run begins."""
        nodes = given.get("nodes")
        if isinstance(nodes, list) and nodes and all(_joins_later(node) for node in nodes):
            yield Conflict(
                ("nodes",), "all join after the run begins; give one that has joins_after_seconds 0 or none"
            )


def _joins_later(node: object) -> bool:
    after = node.get("joins_after_seconds") if isinstance(node, Mapping) else None
    return isinstance(after, int | float) and not isinstance(after, bool) and after > 0


def load_farm(path: Path) -> FarmFile:
    """Read a farm file. Raises JobError with every mistake that was found, each with its line."""
    document = parse(read_job_text(path, "farm file"), str(path))
    if not isinstance(document.data, dict):
        raise JobError(
            f"{path} does not hold a mapping of keys to values; a farm file has at least nodes, and "
            "'tilefarm simulate --calibrate FILE' writes one of this machine"
        )
    problems = [(line, f"{path}, line {line}: {problem}") for line, problem in document.problems]
    try:
        farm = FarmFile.model_validate(document.data)
    except ValidationError as error:
        for details in error.errors():
            unread = (details["loc"][:end] in document.unreadable for end in range(len(details["loc"]) + 1))
            if is_echo(details) or any(unread):
                continue
            line = _line(document, details["loc"])
            place = f"{path}, line {line}" if line else str(path)
            said = sentence(details, details["loc"], FarmFile, "the farm file")
            problems.append((line, f"{place}: {said}"))
        farm = None
    if problems or farm is None:
        raise JobError([text for _, text in sorted(problems, key=lambda problem: problem[0])])
    return farm


def _line(document: Document, location: Location) -> int:
    for end in range(len(location), 0, -1):
        if line := document.lines.get(location[:end]):
            return line
    return 0
