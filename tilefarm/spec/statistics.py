"""The statistics by which styles can be compared, as a job names them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, TypeAdapter, ValidationError

from tilefarm.spec.values import Weight, did_you_mean, found

STATISTIC_NAMES = ("gram", "mean", "std", "remap", "wasserstein")
"""Of `solve.statistics`."""
_SHORT: dict[str, dict[str, float]] = {
    **{name: {name: 1.0} for name in STATISTIC_NAMES},
    "mean_std": {"mean": 1.0, "std": 1.0},
    "gram_mean_std": {"gram": 1.0, "mean": 1.0, "std": 1.0},
}
_WEIGHTS: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, Weight])


def named_statistics(value: Any) -> dict[str, float] | None:
    """Statistics and weights for what a job says: a name, a mapping or pairs; None for anything else."""
    if isinstance(value, str):
        return _SHORT.get(value)
    try:
        weights = _WEIGHTS.validate_python(dict(value), strict=True)
    except (TypeError, ValueError, ValidationError):
        return None
    return weights


def _style_statistics(value: Any) -> tuple[tuple[str, float], ...]:
    weights = named_statistics(value)
    if weights is None:
        close = did_you_mean(value, _SHORT)
        raise ValueError(
            f"must be {', '.join(_SHORT)}, or a mapping of some of {', '.join(STATISTIC_NAMES)} to their "
            f"weights such as {{gram: 1, mean: 0.1}}, got {found(value)}{close}"
        )
    for name in weights:
        if name not in STATISTIC_NAMES:
            raise ValueError(
                f"must name statistics among {', '.join(STATISTIC_NAMES)}, got {name!r}"
                f"{did_you_mean(name, STATISTIC_NAMES)}"
            )
    if not any(weights.values()):
        raise ValueError("must have a statistic whose weight is not 0, got only zeros")
    return tuple(sorted((name, weight) for name, weight in weights.items() if weight))


StyleStatistics = Annotated[
    tuple[tuple[str, float], ...],
    PlainValidator(_style_statistics),
    PlainSerializer(dict, return_type=dict[str, float]),
]
"""(name, weight); written out as a mapping again."""
