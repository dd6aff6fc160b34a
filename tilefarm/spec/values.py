"""The kinds of values that a job file can hold, with their rules and the sentences of broken rules.

The text of a ValueError continues a sentence that begins with the key: "tiles.batch" + " must be ...".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, TypeAdapter

Auto = Literal["auto"]

_EXPONENT_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
_DEVICE = re.compile(r"auto|cpu|cuda(:(0|[1-9][0-9]{0,2}))?")
_MEMORY = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]i?B)", re.IGNORECASE)
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_LONGEST_QUOTE = 60
_DIGITS = re.compile(r"\d{1,9}")


def found(value: object) -> str:
    """How a sentence names a value of a job file: 'text', 12, true, nothing, a list, a mapping."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if isinstance(value, str | int | float) else repr(str(value))
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."


def printable(text: str) -> str:
    """The text with its unprintable characters as escapes: a sentence must not steer a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def did_you_mean(value: object, choices: Iterable[str]) -> str:
    """'; did you mean 'x'?' for the closest of `choices`, or an empty text when none is close."""
    close = difflib.get_close_matches(value, list(choices), n=1) if isinstance(value, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def _as_float(value: Any) -> Any:
    """YAML 1.1 leaves 1e3 a text; an int of 400 digits has no float, and is told as not finite."""
    if isinstance(value, str) and _EXPONENT_NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    return value


Number = Annotated[float, BeforeValidator(_as_float), Field(allow_inf_nan=False)]
"""A finite float; whole numbers and texts such as 1e3 are taken as well."""

Weight = Annotated[Number, Field(ge=0)]


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, got {found(value)}; put it in quotes")
    if not is_name(value):
        raise ValueError(f"{NAME_RULE}, got {found(value)}")
    return value


NAME_RULE = (
    "must be 1 to 80 of the characters A-Z, a-z, 0-9, '.', '_' and '-', and must not start with '.' or '-'"
)


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a job, and so of a folder on any system."""
    return _NAME.fullmatch(text) is not None


JobName = Annotated[str, PlainValidator(_name)]


def _auto_or_whole(low: int, high: int) -> Callable[[Any], int | Auto]:
    def check(value: Any) -> int | Auto:
        if value == "auto":
            return "auto"
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"must be auto or a whole number from {low} to {high}, got {found(value)}")

    return check


Batch = Annotated[int | Auto, PlainValidator(_auto_or_whole(1, 256))]
Workers = Annotated[int | Auto, PlainValidator(_auto_or_whole(1, 4096))]


def _memory(value: Any) -> int | Auto:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := _MEMORY.fullmatch(value.strip())):
        unit = match[2].upper()
        size = int(Decimal(match[1]) * (1024 if "I" in unit else 1000) ** _POWERS[unit[0]])
    else:
        size = 0
    if not 1 <= size < 2**63:
        raise ValueError(
            f"must be auto, a size such as 8GiB, 512MiB or 16GB, or a number of bytes, got {found(value)}"
        )
    return size


Memory = Annotated[int | Auto, PlainValidator(_memory)]
"""`auto` or bytes."""


def _device(value: Any) -> str:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise ValueError(f"must be auto, cpu, cuda or cuda:N such as cuda:0, got {found(value)}")
    return value


Device = Annotated[str, PlainValidator(_device)]


def _tile_size(value: Any) -> int | Auto:
    if value == "auto":
        return "auto"
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"must be auto or a whole number of pixels, got {found(value)}")
    if value < 64:
        raise ValueError(f"must be at least 64, got {value}")
    if value > 4096:
        raise ValueError(f"must be at most 4096, got {value}")
    if value % 16:
        below = value // 16 * 16
        raise ValueError(f"must be a multiple of 16, got {value}; the nearest are {below} and {below + 16}")
    return value


TileSize = Annotated[int | Auto, PlainValidator(_tile_size)]
USUAL_TILE = 512
"""Pixels of a tile where `tiles.size` is auto."""

MOST_LAYERS = 16

_LAYERS: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, Weight])


def _layer_weights(value: Any) -> tuple[tuple[str, float], ...]:
    """From the mapping of a job file, or from the pairs of another objective."""
    pairs = dict(value) if isinstance(value, tuple) else value
    if not isinstance(pairs, Mapping):
        raise ValueError(f"must be a mapping such as {{relu4_2: 1.0}}, got {found(value)}")
    weights = _LAYERS.validate_python(pairs, strict=True)
    if not 1 <= len(weights) <= MOST_LAYERS:
        raise ValueError(f"must name 1 to {MOST_LAYERS} layers, got {len(weights)}")
    if not any(weights.values()):
        raise ValueError("must have a layer whose weight is not 0, got only zeros")
    return tuple(sorted(weights.items(), key=_depth))


def _depth(layer: tuple[str, float]) -> tuple[list[int], str]:
    """The numbers in a layer's name are its place in the network: relu1_1, relu2_1; relu1, fire2."""
    return [int(digits) for digits in _DIGITS.findall(layer[0])], layer[0]


LayerWeights = Annotated[
    tuple[tuple[str, float], ...],
    PlainValidator(_layer_weights),
    PlainSerializer(dict, return_type=dict[str, float]),
]
"""(name, weight) from the shallowest layer to the deepest; written out as a mapping again."""
