"""Kept statistics: the same numbers, found for the same inputs only, and measured again when damaged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.standins import Mixer
from tilefarm.execute.local import LocalExecutor
from tilefarm.geometry import Size
from tilefarm.plan.halo import ReceptiveField
from tilefarm.solve.contract import SolverSettings
from tilefarm.solve.tasks import Measurement, MeasureTask
from tilefarm.statistics_cache import Statistics, StatisticsCache, clear_cache
from tilefarm.targets import Pieces, measure_sums

SETTINGS = SolverSettings(
    network="vgg19",
    pooling="max",
    precision="float32",
    content_layers=(("relu4_2", 1.0),),
    style_layers=(("relu1_1", 1.0), ("relu2_1", 0.5)),
    content_weight=1.0,
    style_weight=1.0,
    tv_weight=0.0,
    history=20,
)


class Executor(LocalExecutor):
    """Counts what it measures."""

    def __init__(self) -> None:
        super().__init__(Mixer())
        self.measured = 0

    def measure(self, settings: SolverSettings, tasks: Iterable[MeasureTask]) -> Iterator[Measurement]:
        for done in super().measure(settings, tasks):
            self.measured += 1
            yield done


@dataclass
class Bench:
    folder: Path
    pieces: Pieces
    executor: Executor
    told: int = 0

    @property
    def cache(self) -> Path:
        return self.folder / "runs" / ".cache"

    def on_piece(self) -> None:
        self.told += 1

    def get(self, settings: SolverSettings = SETTINGS, weights: str = "w", **changes: Any) -> Statistics:
        cache = StatisticsCache(self.cache, weights)
        return cache.style_sums(self.executor, settings, replace(self.pieces, **changes), self.on_piece)

    @property
    def files(self) -> list[Path]:
        return sorted(self.cache.iterdir())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    path = tmp_path / "style.f32"
    np.random.default_rng(1).random((70, 90, 3), dtype=np.float32).tofile(path)
    return Bench(tmp_path, Pieces.of(path, Size(90, 70), 64, ReceptiveField(4, 8, 8)), Executor())


def test_what_is_read_is_what_was_measured(bench: Bench) -> None:
    measured = measure_sums(Executor(), SETTINGS, bench.pieces, lambda: None)
    first, second = bench.get(), bench.get()
    assert bench.executor.measured == bench.pieces.count == 4
    assert bench.told == 8, "progress counts pieces that were not measured again, too"
    for statistics in (first, second):
        assert statistics.keys() == measured.keys()
        for layer, values in measured.items():
            for part, wanted in vars(values).items():
                found = getattr(statistics[layer], part)
                assert found.dtype == wanted.dtype
                assert found.tobytes() == wanted.tobytes()
    assert len(bench.files) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"content_weight": 0.0},
        {"style_weight": 9.0},
        {"tv_weight": 1.0},
        {"history": 3},
        {"optimizer": "cg"},
        {"statistics": (("mean", 1.0),), "activation_shift": -1.0},
        {"normalize_gradients": True, "regions": 2},
        {"units": "averaged", "tv_exponent": 1.0},
        {"style_layers": (("relu1_1", 7.0), ("relu2_1", 7.0))},
        {"style_layers": (("relu1_1", 1.0), ("relu2_1", 1.0), ("relu3_1", 0.0))},
    ],
)
def test_settings_that_do_not_matter(bench: Bench, change: dict[str, Any]) -> None:
    bench.get()
    bench.get(replace(SETTINGS, **change))
    assert bench.executor.measured == 4


@pytest.mark.parametrize(
    "change",
    [
        {"network": "vgg16"},
        {"pooling": "average"},
        {"precision": "bfloat16"},
        {"style_layers": (("relu1_1", 1.0),)},
    ],
)
def test_settings_that_matter(bench: Bench, change: dict[str, Any]) -> None:
    bench.get()
    bench.get(replace(SETTINGS, **change))
    assert bench.executor.measured == 8


def test_other_pictures_cuts_and_weights_are_measured(bench: Bench) -> None:
    bench.get()
    bench.get(weights="other")
    bench.get(core=96)
    bench.get(field=ReceptiveField(4, 12, 12))
    assert len(bench.files) == 4
    pixels = bytearray(bench.pieces.path.read_bytes())
    pixels[2] ^= 1
    (bench.folder / "other.f32").write_bytes(pixels)
    bench.get(path=bench.folder / "other.f32")
    assert len(bench.files) == 5
    measured = bench.executor.measured
    bench.pieces.path.rename(bench.folder / "moved.f32")
    bench.get(path=bench.folder / "moved.f32")
    assert bench.executor.measured == measured, "the name of the file does not count"


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_damaged_entry_is_measured_again(bench: Bench, damage: str) -> None:
    good = bench.get()
    (file,) = bench.files
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    broken = {"flip": bytes(data), "cut": bytes(data[:-9]), "empty": b"", "text": b"PK nothing"}
    file.write_bytes(broken[damage])
    again = bench.get()
    assert bench.executor.measured == 8
    assert all((again[layer].products == good[layer].products).all() for layer in good)
    bench.get()
    assert bench.executor.measured == 8, "it was written again"


def test_the_oldest_make_room(bench: Bench) -> None:
    bench.get()
    size = bench.files[0].stat().st_size
    cache = StatisticsCache(bench.cache, "w", most_bytes=round(2.5 * size))
    keys = (64, 96, 128)
    for age, core in enumerate(keys[:2]):
        cache.style_sums(bench.executor, SETTINGS, replace(bench.pieces, core=core), bench.on_piece)
        for file in bench.files:
            os.utime(file, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns - 10**12 * (2 - age)))
    cache.style_sums(bench.executor, SETTINGS, bench.pieces, bench.on_piece)  # the first is used again
    cache.style_sums(bench.executor, SETTINGS, replace(bench.pieces, core=128), bench.on_piece)
    assert len(bench.files) == 2
    before = bench.executor.measured
    cache.style_sums(bench.executor, SETTINGS, bench.pieces, bench.on_piece)
    assert bench.executor.measured == before, "what was used last is kept"


def test_a_folder_that_cannot_be_written_costs_only_time(bench: Bench) -> None:
    bench.cache.parent.mkdir()
    bench.cache.write_text("a file in its place")
    assert bench.get().keys() == bench.get().keys()
    assert bench.executor.measured == 8


def test_clearing(bench: Bench) -> None:
    bench.get()
    clear_cache(bench.cache)
    clear_cache(bench.cache)
    assert not bench.cache.exists()
