"""Which layers a job looks at, and how much each counts."""

from __future__ import annotations

from tilefarm.spec.model import Job
from tilefarm.spec.networks import deepest_layer, layer_names

BLENDED_LAYERS = ("relu4_2", "relu5_2")
"""Between which `objective.content_blend` goes over."""

Layers = tuple[tuple[str, float], ...]


def content_layers(job: Job) -> Layers:
    """Layers and weights of the content term; empty where it has no weight."""
    objective = job.objective
    if not objective.content_weight:
        return ()
    if (blend := objective.content_blend) is not None:
        return tuple(pair for pair in zip(BLENDED_LAYERS, (1 - blend, blend), strict=True) if pair[1])
    return tuple((name, weight) for name, weight in objective.content_layers if weight)


def style_layers(job: Job) -> Layers:
    """Layers and weights of the style term, shallow to deep; empty where it has no weight.

    Each layer's weight is multiplied with `style_layer_decay` once for every style layer before it.
    """
    objective = job.objective
    if not objective.style_weight:
        return ()
    order = layer_names(job.network.name).index
    named = sorted(
        ((name, weight) for name, weight in objective.style_layers if weight), key=lambda n: order(n[0])
    )
    return tuple(
        (name, weight * objective.style_layer_decay**number) for number, (name, weight) in enumerate(named)
    )


def layers_of(job: Job) -> frozenset[str]:
    """The layers that take part in a job's objective."""
    return frozenset(name for name, _ in (*content_layers(job), *style_layers(job)))


def deepest_of(job: Job) -> str:
    """The deepest layer that a job's objective looks at."""
    return deepest_layer(job.network.name, set(layers_of(job)))
