"""Where the network becomes the limit of the exact method: `python -m scripts.traffic` prints it in Markdown.

A GPU is taken to reach 200 TFLOP/s, which is an assumption, at 1.44 MFLOP a pixel and evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tilefarm.exact.meetings import in_rows, rehearsed
from tilefarm.execute.assignment import IN_FLIGHT
from tilefarm.geometry import Size
from tilefarm.plan.estimate import evaluation_flop
from tilefarm.plan.grid import BORDER
from tilefarm.plan.halo import Piece, partition, receptive_field
from tilefarm.plan.traffic import (
    evaluation_traffic,
    link_seconds,
    overlap,
    seconds_with_vectors_at_the_tiles,
    useful_gpus,
)
from tilefarm.spec.networks import channels_of

PICTURES = {"27 Mpx": Size(6000, 4500), "1 Gpx": Size(36000, 27778)}
CORES = (512, 1024, 1536, 2048)
CODINGS: tuple[Literal["float32", "packed", "half"], ...] = ("float32", "packed", "half")
LINKS = {"1 Gbit/s": 1e9 / 8, "10 Gbit/s": 1e10 / 8}
ACHIEVED_FLOP = 2e14
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CHANNELS = tuple(channels_of("vgg19")[name] for name in LAYERS)


def pieces_of(size: Size, core: int) -> tuple[Piece, ...]:
    """Of a level with its reflected border."""
    window = Size(size.width + 2 * BORDER, size.height + 2 * BORDER)
    return tuple(partition(window, core, receptive_field("vgg19", LAYERS[-1])))


def gpu_seconds(pieces: tuple[Piece, ...]) -> float:
    """Of one GPU for an evaluation."""
    pixels = sum(piece.crop.size.pixels for piece in pieces)
    return pixels * evaluation_flop("vgg19", LAYERS[-1]) / ACHIEVED_FLOP


def bytes_table() -> Iterator[str]:
    """Bytes per pixel of the picture and evaluation."""
    yield "| picture | cores | pieces | crop/core | " + " | ".join(CODINGS) + " |"
    yield "|---|---|---|---|" + "---|" * len(CODINGS)
    for name, size in PICTURES.items():
        for core in CORES:
            pieces = pieces_of(size, core)
            pixels = sum(piece.core.size.pixels for piece in pieces)
            grown = sum(piece.crop.size.pixels for piece in pieces) / pixels
            found = [evaluation_traffic(pieces, CHANNELS, coding) for coding in CODINGS]
            cells = " | ".join(f"{(one.out + one.back) / pixels:.1f}" for one in found)
            yield f"| {name} | {core} | {len(pieces)} | {grown:.2f} | {cells} |"


def workers_table() -> Iterator[str]:
    """The same with the optimizer's vectors with the workers, on so many machines."""
    yield "| picture | cores | driver's link, 2 machines | 8 | 64 | between workers |"
    yield "|---|---|---|---|---|---|"
    for name, size in PICTURES.items():
        for core in CORES:
            pieces = pieces_of(size, core)
            pixels = sum(piece.core.size.pixels for piece in pieces)
            cells = []
            for machines in (2, 8, 64):
                found = evaluation_traffic(pieces, CHANNELS, "float32", machines)
                one, handed, _ = statistics(pieces, machines)
                cells.append(f"{(found.slopes + one) / pixels:.1f}")
            yield f"| {name} | {core} | {' | '.join(cells)} | {(found.halos + handed) / pixels:.1f} |"


def statistics(pieces: tuple[Piece, ...], machines: int) -> tuple[float, float, float]:
    """Bytes of them that go to the driver; from machine to machine; and, of these, one after the other."""
    one = evaluation_traffic(pieces, CHANNELS, "float32").sums / len(pieces)
    found = rehearsed(in_rows([1] * machines, len(pieces)))
    handed = sum(each.brought for stage in found for each in stage)
    waited = sum(max(each.brought for each in stage) for stage in found)
    return found[-1][0].made * one, handed * one, waited * one


def limit_table() -> Iterator[str]:
    """What the driver's link takes and how many GPUs it can keep busy, with cores of 1536."""
    yield "| picture | one GPU | link | transport | driver's link | GPUs it keeps busy |"
    yield "|---|---|---|---|---|---|"
    for name, size in PICTURES.items():
        pieces = pieces_of(size, 1536)
        alone = gpu_seconds(pieces)
        for link, speed in LINKS.items():
            for coding in CODINGS:
                traffic = evaluation_traffic(pieces, CHANNELS, coding)
                seconds, useful = link_seconds(traffic, speed), useful_gpus(traffic, speed, alone)
                yield f"| {name} | {alone:.2f} s | {link} | {coding} | {seconds:.2f} s | {useful:.2f} |"


def moved_table() -> Iterator[str]:
    """Seconds of an evaluation with the optimizer's vectors with the workers, a GPU to a machine."""
    yield "| picture | link | driver, packed | 8 machines | 64 machines |"
    yield "|---|---|---|---|---|"
    for name, size in PICTURES.items():
        pieces = pieces_of(size, 1536)
        for link, speed in LINKS.items():
            cells = []
            for machines in (8, 64):
                traffic = evaluation_traffic(pieces, CHANNELS, "float32", machines)
                joined, _, met = statistics(pieces, machines)
                seconds = seconds_with_vectors_at_the_tiles(
                    traffic, joined, met, min(machines, len(pieces)), speed, gpu_seconds(pieces)
                )
                cells.append(f"{seconds:.2f} s")
            at_driver = link_seconds(evaluation_traffic(pieces, CHANNELS, "packed"), speed)
            yield f"| {name} | {link} | {at_driver:.2f} s | {' | '.join(cells)} |"


def overlap_table() -> Iterator[str]:
    """What two calls in flight reach of a worker's full pace, alone on its link, in the two passes."""
    yield "| link | first pass: send, compute, back | pace | second pass | pace | crop sent again | pace |"
    yield "|---|---|---|---|---|---|---|"
    pieces = pieces_of(PICTURES["27 Mpx"], 1536)
    traffic, count = evaluation_traffic(pieces, CHANNELS, "packed"), len(pieces)
    compute = gpu_seconds(pieces) / count / 2
    for link, speed in LINKS.items():
        send, sums, gradient = (
            part / count / speed for part in (traffic.crops, traffic.sums, traffic.gradients)
        )
        first, second, again = (send, compute, sums), (compute, gradient), (send, 2 * compute, gradient)
        cells = (
            f"{', '.join(f'{stage:.3f}' for stage in stages)} s | {overlap(stages, IN_FLIGHT):.2f}"
            for stages in (first, second, again)
        )
        yield f"| {link} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for table in (bytes_table(), workers_table(), limit_table(), moved_table(), overlap_table()):
        print(*table, "", sep="\n")
