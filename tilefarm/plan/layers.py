"""Which layers a job looks at."""

from __future__ import annotations

from tilefarm.spec.model import Job
from tilefarm.spec.networks import deepest_layer


def layers_of(job: Job) -> frozenset[str]:
    """The layers that take part in a job's objective."""
    objective = job.objective
    used = {name for name, weight in objective.content_layers if weight and objective.content_weight}
    return frozenset(
        used | {name for name, weight in objective.style_layers if weight and objective.style_weight}
    )


def deepest_of(job: Job) -> str:
    """The deepest layer that a job's objective looks at."""
    return deepest_layer(job.network.name, set(layers_of(job)))
