"""Metrics of a run through Ray: what every node's Prometheus endpoint shows beside Ray's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tilefarm.execute.open import ExecutorChoice


@dataclass(frozen=True)
class Metric:
    """One exported number. Ray puts `ray_` before its name, and `_total` after that of a counter."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    description: str
    tags: tuple[str, ...] = ("run", "level")
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets."""


class Recorder(Protocol):
    """Exports numbers: adds to a counter, sets a gauge, takes one more value into a histogram."""

    def __call__(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        """`tags` has a text for each of the metric's."""


def recorder(choice: ExecutorChoice) -> Recorder | None:
    """What exports numbers to the cluster that was joined.

    None for a Ray of our own or none at all. An embedded Ray would export them too, where its dashboard's
    parts are installed, but nobody knows its port, and `status` and `watch` show the same.
    """
    if choice.kind != "ray" or choice.address is None:
        return None
    return _RayRecorder()


class _RayRecorder:
    """Metrics of Ray, made when they are first needed. 5 microseconds a value with Ray 2.60."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __call__(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        made = self._made.get(metric.name)
        if made is None:
            made = self._made[metric.name] = _make(metric)
        if metric.kind == "counter":
            if value > 0:  # Ray refuses to add nothing
                made.inc(value, dict(tags))
        elif metric.kind == "gauge":
            made.set(value, dict(tags))
        else:
            made.observe(value, dict(tags))


def _make(metric: Metric) -> Any:
    from ray.util import metrics

    if metric.kind == "counter":
        return metrics.Counter(metric.name, metric.description, metric.tags)
    if metric.kind == "gauge":
        return metrics.Gauge(metric.name, metric.description, metric.tags)
    return metrics.Histogram(metric.name, metric.description, list(metric.bounds), metric.tags)
