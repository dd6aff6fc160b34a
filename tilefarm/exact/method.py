"""Which optimizer works on a level of the exact method."""

from __future__ import annotations

from functools import partial
from typing import Any

from tilefarm.adam_moments import copy_moments, gradients_before
from tilefarm.exact.adam import FileAdam
from tilefarm.exact.cg import FileConjugateGradients
from tilefarm.exact.lbfgs import FileLbfgs
from tilefarm.exact.optimizer import Evaluate, FileOptimizer
from tilefarm.plan.build import LevelPlan
from tilefarm.rounds import RunTools


def make_optimizer(tools: RunTools, level: LevelPlan, length: int, evaluate: Evaluate) -> FileOptimizer[Any]:
    """The optimizer that the job names, on vectors of `length` values in the level's folder.

    Adam begins with the means that the level before has left.
    """
    folder, settings = tools.run.optimizer(level.index), tools.settings
    if settings.optimizer == "cg":
        return FileConjugateGradients(folder, length, evaluate)
    if settings.optimizer == "lbfgs":
        return FileLbfgs(folder, length, min(settings.history, level.iterations), evaluate)
    if settings.adam is None:
        raise ValueError("Adam needs its settings")
    count = gradients_before(tools.prepared.plan, level)
    memory = (partial(copy_moments, tools.run, level), count) if count else None
    return FileAdam(folder, length, settings.adam, evaluate, memory)
