"""Which optimizer works on a level of the exact method."""

from __future__ import annotations

from functools import partial
from typing import Any

from tilefarm.adam_moments import copy_moments, gradients_before
from tilefarm.canvas.vectors import FileVectors
from tilefarm.events import Noted
from tilefarm.exact.adam import FileAdam
from tilefarm.exact.cg import FileConjugateGradients
from tilefarm.exact.core_lbfgs import CoreLbfgs
from tilefarm.exact.cores import CoreVectors
from tilefarm.exact.evaluate import WholePicture
from tilefarm.exact.evaluate_cores import CoreEvaluator
from tilefarm.exact.lbfgs import FileLbfgs
from tilefarm.exact.optimizer import FileOptimizer
from tilefarm.plan.build import LevelPlan
from tilefarm.rounds import RunTools


def make_optimizer(
    tools: RunTools, level: LevelPlan, picture: WholePicture, evaluate: CoreEvaluator, away: bool
) -> FileOptimizer[Any]:
    """The optimizer that the job names, on vectors of the picture in the level's folder.

    `away`: L-BFGS has its vectors with the workers. Adam begins with the means of the level before.
    """
    folder, settings = tools.run.optimizer(level.index), tools.settings
    history = min(settings.history, level.iterations)
    if away:
        cores = CoreVectors(tools.executor, settings, picture)
        return CoreLbfgs(folder, cores, history, evaluate, lambda note: tools.listen(Noted(note)))
    vectors = FileVectors(picture.cut)
    if settings.optimizer == "cg":
        return FileConjugateGradients(folder, vectors, evaluate)
    if settings.optimizer == "lbfgs":
        return FileLbfgs(folder, vectors, history, evaluate)
    if settings.adam is None:
        raise ValueError("Adam needs its settings")
    count = gradients_before(tools.prepared.plan, level)
    memory = (partial(copy_moments, tools.run, level), count) if count else None
    return FileAdam(folder, vectors, settings.adam, evaluate, memory)
