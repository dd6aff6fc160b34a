"""Names and captions of the runs of a sweep, made of the values that they have."""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Literal

import yaml

from tilefarm.spec.yaml_writer import write_yaml

MOST_OF_NAME = 80
_MOST_OF_TAIL = 60
_MOST_OF_VALUE = 32
_HASH_DIGITS = 6

Kind = Literal["value", "file", "picture"]
"""Of a value: a plain one, the path of a file (or a word in its place), or that of a content or style
picture, whose file's name speaks for itself."""


def canonical(value: Any) -> str:
    """A text that is the same for values that mean the same: 1 and 1.0, but not 1 and true."""
    return json.dumps(_plain(value), sort_keys=True)


def labels(keys: Sequence[str]) -> list[str]:
    """Short names of keys: the end of each that no other one shares, never beginning with a number."""
    return [_label(key, [other for other in keys if other != key]) for key in keys]


def tail(chosen: Sequence[tuple[str, Any, Kind]]) -> str:
    """What the values add to a name: `-starry_night-style_weight-0.5`.

    `chosen` has per key its label, its value, and its kind. Too long a text is cut and ends in six digits
    of a hash of the values.
    """
    parts = [value_word(value, kind) for _, value, kind in chosen]
    words = [
        part if kind == "picture" else f"{label}-{part}"
        for part, (label, _, kind) in zip(parts, chosen, strict=True)
    ]
    text = "".join(f"-{word}" for word in words if word)
    return text if len(text) <= _MOST_OF_TAIL else hashed(text, chosen)


def hashed(text: str, chosen: Sequence[tuple[str, Any, Kind]]) -> str:
    """A tail, cut where it is too long, that no other values have."""
    code = json.dumps([[label, canonical(value)] for label, value, _ in chosen])
    digits = hashlib.sha256(code.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{text[: _MOST_OF_TAIL - _HASH_DIGITS - 1]}-{digits}"


def value_word(value: Any, kind: Kind) -> str:
    """A value in the characters that names may have; a file's is its stem."""
    text = PurePath(value).stem if kind != "value" and isinstance(value, str) else _flat(value)
    return re.sub(r"[^A-Za-z0-9.-]+", "_", _ascii(text)).strip("_")[:_MOST_OF_VALUE]


def value_caption(value: Any, kind: Kind = "value") -> str:
    """A value as people write it, on one line; a file's is its name without folders."""
    if kind != "value" and isinstance(value, str):
        return PurePath(value).name
    return value if isinstance(value, str) else _one_line(value)


def _label(key: str, others: Sequence[str]) -> str:
    parts = key.split(".")
    for start in range(len(parts) - 1, 0, -1):
        end = parts[start:]
        if not end[0].isdecimal() and not any(other.split(".")[-len(end) :] == end for other in others):
            return ".".join(end)
    return key


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return "-".join(f"{key}-{_flat(one)}" for key, one in value.items())
    if isinstance(value, list):
        return "-".join(_flat(one) for one in value)
    return value if isinstance(value, str) else _one_line(value)


def _one_line(value: Any) -> str:
    if isinstance(value, dict | list):
        text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf)
        return text.strip()
    return write_yaml([value]).strip()[1:-1]


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
