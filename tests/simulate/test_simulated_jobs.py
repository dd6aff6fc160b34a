"""A job's plan as work: the same pixels, bytes and repetitions that a run has."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from tests.prepared import prepared_job
from tilefarm.execute.protocol import WorkerInfo
from tilefarm.forecast import work_factor
from tilefarm.prepare import Prepared
from tilefarm.settings import choose_keep
from tilefarm.simulate.crew import GIB, Machine, SimCrew, SimWorker
from tilefarm.simulate.farm_file import Driver
from tilefarm.simulate.job_work import chosen, work_of
from tilefarm.simulate.run import simulate
from tilefarm.simulate.work import LevelWork, Stage
from tilefarm.solve.branches import joined, leaf
from tilefarm.spec.networks import channels_of


def info(memory: float, away: bool = True) -> WorkerInfo:
    node = "far-away" if away else platform.node()
    size = round(memory * GIB)
    return WorkerInfo("cpu", "test", None, 1, "bfloat16", os.getpid(), node, "1", size, size)


def last(prepared: Prepared, workers: list[WorkerInfo]) -> tuple[Prepared, LevelWork]:
    prepared, started = chosen(prepared, workers)
    return prepared, work_of(prepared, started, workers)[-1]


def evaluations(work: LevelWork) -> list[Stage]:
    return [stage for stage in work.stages if stage.name == "evaluating"]


@pytest.mark.parametrize("memory", [1.0, 3.0, 6.0, 40.0])
def test_an_evaluation_is_as_much_work_as_the_plan_says(memory: float) -> None:
    """Against the forecast's arithmetic, which knows how many pieces keep what and not which ones."""
    workers = [info(memory)]
    prepared, work = last(prepared_job(3000, 512, vectors="driver"), workers)
    level = prepared.plan.levels[-1]
    keep = choose_keep(prepared, level, workers, "bfloat16")
    count = len(level.pieces)
    first, rest = evaluations(work)
    assert (first.repeats, rest.repeats) == (1, level.iterations)
    done = sum(item.pixel_steps for each in rest.passes for item in each.items)
    pixels = sum(piece.crop.size.pixels for piece in level.pieces)
    factor = work_factor(count, min(count, keep.contents), min(count, keep.graphs))
    assert done == pytest.approx(pixels * factor, rel=0.02)


@pytest.mark.parametrize(("transport", "share"), [("float32", 1.0), ("packed", 5 / 6), ("half", 0.5)])
def test_what_travels_in_an_evaluation(transport: str, share: float) -> None:
    """With all kept: the crop once out and its gradient back, and the statistics of every piece."""
    workers = [info(200.0)]
    prepared, work = last(prepared_job(2000, 512, vectors="driver", transport=transport), workers)
    level = prepared.plan.levels[-1]
    sums, slopes = evaluations(work)[1].passes
    crops = sum(piece.crop.size.pixels for piece in level.pieces) * 12 * share
    assert sum(item.sent for item in sums.items) == pytest.approx(crops, rel=1e-6)
    assert sum(item.sent for item in slopes.items) == 0
    assert sum(item.received for item in slopes.items) == pytest.approx(crops, rel=1e-6)
    channels = channels_of("vgg19")
    counts = [channels[f"relu{block}_1"] for block in range(1, 6)]
    values = sum(count * (count + 1) // 2 + count for count in counts)
    expected = values * (4 if transport == "half" else 8)
    assert {item.received for item in sums.items} == {expected}
    assert slopes.shared == sum(count * (count + 1) * 4 for count in counts)


def test_a_first_evaluation_sends_the_content() -> None:
    _, work = last(prepared_job(2000, 512, vectors="driver", transport="float32"), [info(200.0)])
    first, rest = evaluations(work)
    for early, later in zip(first.passes[0].items, rest.passes[0].items, strict=True):
        assert early.sent == 2 * later.sent
        assert early.pixel_steps == 2 * later.pixel_steps


def test_packing_is_for_other_machines() -> None:
    away, here = (
        evaluations(last(prepared_job(2000, 512, vectors="driver"), [info(200.0, away)])[1])[1]
        .passes[1]
        .items[0]
        .received
        for away in (True, False)
    )
    assert away == pytest.approx(here * 5 / 6, abs=1)


def feathered(prepared: Prepared, **tiles: object) -> Prepared:
    from tilefarm.plan.build import build_plan

    job = prepared.job.model_copy(
        update={"method": "feathered", "tiles": prepared.job.tiles.model_copy(update=tiles)}
    )
    sizes = [style.size for style in prepared.styles]
    return replace(prepared, job=job, plan=build_plan(job, prepared.content.size, sizes))


def test_rounds_of_tiles() -> None:
    prepared, work = last(
        feathered(prepared_job(1500, 256, vectors="driver"), drift_correction=False), [info(8.0)]
    )
    level = prepared.plan.levels[-1]
    (stage,) = [each for each in work.stages if each.name == "painting"]
    assert stage.repeats == level.rounds == 3
    (tiles,) = stage.passes
    assert len(tiles.items) == level.grid.tiles
    assert {item.sent for item in tiles.items} == {256 * 256 * 24}
    assert {item.received for item in tiles.items} == {256 * 256 * 12}
    assert {item.synced for item in tiles.items} == {256 * 256 * 12}
    assert {item.pixel_steps for item in tiles.items} == {256 * 256 * (level.iterations + 1.0)}


def test_batches_hold_all_tiles() -> None:
    _, work = last(
        feathered(prepared_job(1500, 256, vectors="driver"), drift_correction=False, batch=16), [info(8.0)]
    )
    prepared = feathered(prepared_job(1500, 256, vectors="driver"))
    (stage,) = [each for each in work.stages if each.name == "painting"]
    items = stage.passes[0].items
    assert len(items) == -(-prepared.plan.levels[-1].grid.tiles // 16)
    assert sum(item.pixels for item in items) == prepared.plan.levels[-1].grid.tiles * 256 * 256


def test_drift_correction_measures_the_picture_in_every_round() -> None:
    _, plain = last(feathered(prepared_job(1500, 256, vectors="driver"), drift_correction=False), [info(8.0)])
    prepared, work = last(
        feathered(prepared_job(1500, 256, vectors="driver"), drift_correction=True), [info(8.0)]
    )
    (before,), (after,) = (
        [each for each in found.stages if each.name == "painting"] for found in (plain, work)
    )
    assert len(before.passes) == 1
    measured, tiles = after.passes
    assert sum(item.pixels for item in measured.items) >= prepared.plan.levels[-1].size.pixels
    assert tiles.shared == 2 * before.passes[0].shared


@pytest.mark.parametrize(("history", "steps"), [(20, 15), (5, 15)])
def test_the_optimizers_streams(history: int, steps: int) -> None:
    """L-BFGS with m pairs reads and writes 4 m + 19 vectors, of which m is 0, 1, ... history."""
    prepared = prepared_job(3000, 512, vectors="driver")
    optimizer = prepared.job.optimizer.model_copy(update={"history": history})
    pyramid = prepared.job.pyramid.model_copy(update={"iterations": (steps,)})
    job = prepared.job.model_copy(update={"optimizer": optimizer, "pyramid": pyramid})
    from tilefarm.plan.build import build_plan

    sizes = [style.size for style in prepared.styles]
    prepared = replace(prepared, job=job, plan=build_plan(job, prepared.content.size, sizes))
    prepared, work = last(prepared, [info(8.0)])
    level = prepared.plan.levels[-1]
    chores = evaluations(work)[1].chores
    vector = level.grid.tile.pixels * 12
    counts = [4 * min(history, step) + 19 + 4 + 1 for step in range(steps)]
    assert chores.vectors == pytest.approx(vector * sum(counts) / steps)
    assert chores.synced == 4 * vector
    assert chores.resident == (4 + 2 * (min(history, steps) + 1)) * vector


def test_the_picture_is_written_at_the_end(tmp_path: Path) -> None:
    _, work = last(prepared_job(2000, 512, vectors="driver"), [info(8.0)])
    assert work.stages[-1].name == "writing"
    assert work.stages[-1].chores.pixels == 2000 * 1500


def test_vectors_with_the_workers() -> None:
    """To the driver comes the sum of the statistics; halos travel from worker to worker."""
    workers = [info(200.0), replace(info(200.0), node="as-far")]
    prepared, work = last(prepared_job(3000, 512, vectors="workers", transport="float32"), workers)
    level = prepared.plan.levels[-1]
    first, rest = evaluations(work)
    assert (first.repeats, rest.repeats) == (1, level.iterations)
    pixels = level.grid.tile.pixels
    crops = sum(piece.crop.size.pixels for piece in level.pieces)
    by_kind = {each.kind: each for each in rest.passes if each.kind != "core"}
    assert {each.kind for each in rest.passes} == {"core", "piece_sums", "piece_gradient"}
    assert sum(item.sent for each in rest.passes for item in each.items) == 0
    assert sum(item.received for item in by_kind["piece_gradient"].items) == 0
    assert sum(item.received for item in by_kind["piece_sums"].items) == 0
    plain = last(prepared_job(3000, 512, vectors="driver", transport="float32"), workers)[1]
    one = evaluations(plain)[1].passes[0].items[0].received
    pieces = len(level.pieces)
    received = sum(item.received for each in rest.passes for item in each.items)
    assert received == pieces.bit_count() * one, "statistics of so many branches"
    handed = len(joined(leaf(index, {}) for index in range(pieces // 2, pieces)))
    between = sum(item.between for each in rest.passes for item in each.items)
    assert between == pytest.approx(2 * 12 * (crops - pixels) + handed * one, abs=2)
    done, wanted = (
        sum(item.pixel_steps for each in evaluations(found)[1].passes for item in each.items)
        for found in (work, plain)
    )
    assert done == wanted, "the network has as much to do"
    assert rest.chores.vectors == 0
    handed = sum(item.sent for item in first.passes[0].items)
    assert handed == 12 * pixels


def gpu(memory: float) -> WorkerInfo:
    return replace(info(512.0), device="cuda:0", gpu_bytes=round(memory * GIB))


@pytest.mark.parametrize("vectors", ["driver", "workers"])
def test_each_worker_keeps_what_its_own_memory_allows(vectors: str) -> None:
    """A small GPU beside large ones does not make these keep less."""
    large, mixed = [gpu(80.0)] * 4, [*[gpu(80.0)] * 4, gpu(1.0)]
    prepared = prepared_job(4000, 512, vectors=vectors)
    alone, beside = (
        [each for each in evaluations(last(prepared, infos)[1])[1].passes if each.level]
        for infos in (large, mixed)
    )
    assert [each.forms for each in alone] == [(), ()]
    assert [each.forms for each in beside] == [(0, 0, 0, 0, 1)] * 2
    on_large, on_small = (
        sum(item.forms[form].pixel_steps for each in beside for item in each.items) for form in (0, 1)
    )
    assert on_large == sum(item.pixel_steps for each in alone for item in each.items)
    assert on_small > on_large


def test_one_more_worker_with_little_memory_makes_it_faster() -> None:
    large, mixed = [gpu(80.0)] * 4, [*[gpu(80.0)] * 4, gpu(1.0)]
    seconds = []
    for infos in (large, mixed):
        _, work = last(prepared_job(4000, 512, vectors="driver"), infos)
        some = SimWorker(0, 1e6, 1.5e9, 0.0, 0.0, 0.0, 0.0, 0.0)
        crew = SimCrew((some,) * len(infos), (Machine(None, 0.0),), tuple(infos))
        seconds.append(simulate([work], crew, Driver()).seconds)
    assert seconds[1] < seconds[0]
