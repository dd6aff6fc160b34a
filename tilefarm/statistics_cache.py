"""Statistics of style pictures, measured once for all runs of a sweep.

An entry's name is a hash of all that its values depend on: the picture's own pixels at the level's size,
how it is cut, the network with its weights, and the precision. A picture that was recoloured on the way has
other pixels, and so another entry. What is read back is what was measured, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

import tilefarm
from tilefarm.errors import ResourceError
from tilefarm.execute.protocol import Executor
from tilefarm.files import replacing, telling_when_full
from tilefarm.image.regions import RawRegions
from tilefarm.solve.contract import SolverSettings
from tilefarm.solve.tasks import LayerSums
from tilefarm.spec.fingerprint import file_sha256
from tilefarm.targets import Pieces, measure_sums

Statistics = dict[str, LayerSums]

MOST_BYTES = 2**30
"""VGG's five layers take 5 MB per picture and level."""
_DIGEST_BYTES = 32
_OF_NO_EFFECT = {
    "content_layers",
    "style_layers",
    "content_weight",
    "style_weight",
    "tv_weight",
    "history",
    "optimizer",
    "adam",
    "statistics",
    "activation_shift",
    "normalize_gradients",
    "regions",
    "units",
    "tv_exponent",
}
"""Settings that do not change a style's statistics; of the style's layers only which ones there are counts.
Settings that are not named here count, those of later versions too."""


class StatisticsCache:
    """A folder of measured statistics. The least recently used are removed beyond `most_bytes`."""

    def __init__(self, folder: Path, weights_sha256: str, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._weights = weights_sha256
        self._most_bytes = most_bytes

    def style_sums(
        self, executor: Executor, settings: SolverSettings, pieces: Pieces, on_piece: Callable[[], None]
    ) -> Statistics:
        """What `measure_sums` returns, from the cache where it is there and whole."""
        path = self._folder / f"{self._key(executor, settings, pieces)}.npz"
        known = _read(path)
        if known is not None:
            for _ in range(pieces.count):
                on_piece()
            return known
        measured = measure_sums(executor, settings, pieces, on_piece)
        with suppress(OSError, ResourceError):  # without a copy the next run measures again
            self._keep(path, measured)
        return measured

    def _key(self, executor: Executor, settings: SolverSettings, pieces: Pieces) -> str:
        layers = sorted(name for name, weight in settings.style_layers if weight)
        inputs = {
            "version": tilefarm.__version__,
            "weights": self._weights,
            "devices": sorted({worker.device_name for worker in executor.workers}),
            "layers": layers,
            "settings": {k: v for k, v in asdict(settings).items() if k not in _OF_NO_EFFECT},
            "pieces": {field.name: _content(getattr(pieces, field.name)) for field in fields(pieces)},
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=repr).encode()).hexdigest()

    def _keep(self, path: Path, statistics: Statistics) -> None:
        buffer = BytesIO()
        arrays = {
            f"{part} {name}": values
            for name, sums in statistics.items()
            for part, values in vars(sums).items()
        }
        np.savez(buffer, **arrays)
        data = buffer.getvalue()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._make_room(len(data) + _DIGEST_BYTES)
        with telling_when_full(path), replacing(path) as temporary:
            temporary.write_bytes(hashlib.sha256(data).digest() + data)

    def _make_room(self, wanted: int) -> None:
        entries = sorted((p.stat().st_mtime_ns, p.stat().st_size, p) for p in self._folder.glob("*.npz"))
        total = wanted + sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self._most_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def clear_cache(folder: Path) -> None:
    """Remove a cache with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _content(value: Any) -> Any:
    """A file counts with its bytes, everything else with its value."""
    if isinstance(value, RawRegions):
        return [file_sha256(value.path), value.count]
    return file_sha256(value) if isinstance(value, Path) else repr(value)


def _read(path: Path) -> Statistics | None:
    """The statistics, None where there are none or they are damaged."""
    try:
        data = path.read_bytes()
        path.touch()  # used now
    except OSError:
        return None
    if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
        return None
    with np.load(BytesIO(data[_DIGEST_BYTES:]), allow_pickle=False) as file:
        names = [name.removeprefix("sums ") for name in file.files if name.startswith("sums ")]
        parts = [field.name for field in fields(LayerSums)]
        return {name: LayerSums(**{part: file[f"{part} {name}"] for part in parts}) for name in names}
