"""A level painted by the exact method: one optimizer over the whole picture, evaluated in pieces."""

from __future__ import annotations

import shutil
import time
from typing import Any

from tilefarm import faults
from tilefarm.adam_moments import hands_on, keep_moments
from tilefarm.events import PiecesProgress, RoundFinished, StepTaken
from tilefarm.exact.adam import FileAdam
from tilefarm.exact.evaluate import WholeEvaluator, WholePicture
from tilefarm.exact.evaluate_cores import CoreEvaluator
from tilefarm.exact.method import make_optimizer
from tilefarm.exact.optimizer import FileOptimizer, room_for
from tilefarm.files import checksum, replacing
from tilefarm.geometry import Box
from tilefarm.image.window import copy_window
from tilefarm.placing import at_workers, bytes_at_each
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.frames import last_step
from tilefarm.plan.grid import BORDER
from tilefarm.rounds import RunTools, level_regions
from tilefarm.rundir.journal import RoundDone
from tilefarm.settings import choose_keeps
from tilefarm.snapshots import LevelSnapshots
from tilefarm.solve.contract import LevelTargets


def paint_exact(tools: RunTools, level: LevelPlan, targets: LevelTargets) -> None:
    """Run the level's optimizer to its end, from its last committed iteration, and put the level on record.

    What is optimised is the level with its reflected border; the canvas, which has none, holds the starting
    picture until then, and the result after.
    """
    begin = tools.pauses.worked()
    run, canvas, window = tools.run, tools.run.canvas(level.index), level.grid.tile
    optimizer, evaluate = _instruments(tools, level, targets)
    if not optimizer.resume():
        optimizer.start(lambda path: copy_window(canvas, level.size, level.grid.box(0), path))
    snapshots = LevelSnapshots(tools.prepared, run, level)
    while True:
        _steps(tools, level, optimizer, evaluate, snapshots)
        if optimizer.keep():
            break
    snapshots.of_point(last_step(level), optimizer.result)
    with replacing(canvas) as temporary:
        inside = Box(BORDER, BORDER, BORDER + level.size.width, BORDER + level.size.height)
        copy_window(optimizer.result, window, inside, temporary)
        faults.reached("exact: canvas copied")
    faults.reached("exact: canvas replaced")
    state = optimizer.state
    # Of iterates on average no loss is known yet.
    loss_last = state.losses[-1] if optimizer.result == optimizer.point else evaluate.loss(optimizer.result)
    moments_crc = None
    if isinstance(optimizer, FileAdam) and hands_on(tools.prepared.plan, level, 0):
        moments_crc = keep_moments(run, level, optimizer.means, inside)
        faults.reached("exact: means replaced")
    line = RoundDone(
        level=level.index,
        round=0,
        canvas_crc=checksum(canvas),
        loss_first=state.losses[0],
        loss_last=loss_last,
        seconds=tools.pauses.worked() - begin,
        rollbacks=state.rollbacks,
        gone_wrong=state.gone_wrong,
        moments_crc=moments_crc,
        traffic=state.traffic,
    )
    tools.journal.append(line)
    tools.state.apply(line)
    faults.reached("exact: optimizer to be removed")
    shutil.rmtree(run.optimizer(level.index))
    faults.reached("exact: optimizer removed")
    tools.listen(RoundFinished(level.index, 0, line.loss_first, line.loss_last, line.seconds))


def _instruments(
    tools: RunTools, level: LevelPlan, targets: LevelTargets
) -> tuple[FileOptimizer[Any], WholeEvaluator]:
    """What takes the level's steps, and what it evaluates the picture with; each knows the other."""
    picture = WholePicture(
        targets.key,
        level.grid.tile,
        level.pieces,
        tools.run.content(level.index),
        BORDER,
        level_regions(tools, level),
    )

    def on_piece(done: int, total: int) -> None:
        tools.listen(PiecesProgress(level.index, "evaluating", done, total))

    prepared, precision, workers = tools.prepared, tools.settings.precision, tools.executor.present
    away = at_workers(prepared, level, workers, precision, room_for(tools.run.optimizer(level.index)))
    vectors = bytes_at_each(prepared, level, len(workers)) if away else 0
    keep = choose_keeps(prepared, level, lambda: tools.executor.present, precision, vectors)
    transport = prepared.job.compute.transport
    evaluate = CoreEvaluator(tools.executor, tools.settings, targets, picture, keep, on_piece, transport)
    optimizer = make_optimizer(tools, level, picture, evaluate, away)
    evaluate.on_gone_wrong, evaluate.on_traffic = optimizer.count_gone_wrong, optimizer.count_traffic
    return optimizer, evaluate


def _steps(
    tools: RunTools,
    level: LevelPlan,
    optimizer: FileOptimizer[Any],
    evaluate: WholeEvaluator,
    snapshots: LevelSnapshots,
) -> None:
    """Take the steps that are left, telling of each one."""
    snapshots.of_point(_taken(optimizer), optimizer.result)
    while _taken(optimizer) < level.iterations:
        if tools.pauses.asked():
            optimizer.keep()
        tools.pauses.rest()
        begin, before = time.monotonic(), optimizer.state.iteration
        if not optimizer.step():
            return
        if snapshots.wants(_taken(optimizer)) and not optimizer.keep():
            continue
        state = optimizer.state
        snapshots.of_point(_taken(optimizer), optimizer.result)
        tools.listen(
            StepTaken(
                level=level.index,
                iteration=state.iteration + state.rollbacks,
                iterations=level.iterations,
                accepted=state.iteration > before,
                losses=evaluate.losses,
                weighted=evaluate.losses.weighted(tools.settings),
                seconds=time.monotonic() - begin,
                traffic=evaluate.traffic,
            )
        )


def _taken(optimizer: FileOptimizer[Any]) -> int:
    """Steps that are committed, those that were taken back included."""
    taken: int = optimizer.state.iteration + optimizer.state.rollbacks
    return taken
