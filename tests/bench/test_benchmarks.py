"""The benchmark's arithmetic, and a tiny run of all sections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console

from scripts.benchmarks.__main__ import SECTIONS, main, run
from scripts.benchmarks.context import Scale
from scripts.benchmarks.evaluation import BARE, EXACT, EXACT_KEPT, PLAIN, UNTILED, Evaluation
from scripts.benchmarks.farm import Timing, level_of, overhead
from scripts.benchmarks.projection import project
from scripts.benchmarks.report import Results
from scripts.benchmarks.timing import Spread, alternate, rates, ratios
from scripts.benchmarks.workload import (
    flop_per_pixel,
)
from tilefarm.geometry import Size
from tilefarm.plan.grid import Grid

TINY = Scale(
    name="tiny",
    rounds=1,
    untiled=Size(64, 48),
    exact=Size(96, 64),
    picture=Size(64, 48),
    exact_core=32,
    core=32,
    block_picture=Size(96, 64),
    block_rounds=1,
    block=32,
    block_core=32,
    margin=160,
    tile=32,
    farm_tiles=8,
    memory=(Size(64, 48),),
    file=Size(64, 48),
    forms=1,
)


def test_works_alternate() -> None:
    calls: list[str] = []
    seconds = alternate(3, {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")})
    assert calls == ["a", "b"] * 3
    assert {name: len(found) for name, found in seconds.items()} == {"a": 3, "b": 3}
    assert min(seconds["a"] + seconds["b"]) >= 0


def test_ratios_are_formed_within_rounds() -> None:
    """1/2, 9/3 and 4/1: their median is 3, while the ratio of the medians is 2."""
    assert ratios([1, 9, 4], [2, 3, 1]) == Spread(3, 0.5, 4, 3)
    assert rates(6, [1, 3, 2]) == Spread(3, 2, 6, 3)
    with pytest.raises(ValueError, match="zip"):
        ratios([1, 2], [1])


def test_the_farms_overhead_is_what_workers_did_not_work() -> None:
    """Two workers with 10 s of work between them, that took 6 s: 1 s is lost by each, over 4 tiles."""
    record = overhead([Timing(wall=6.0, tiles=10.0, blend=0.5, driver=2.0)], workers=2, tiles=4)
    assert record.time_over_ideal.median == pytest.approx(1.2)
    assert record.overhead_milliseconds.median == pytest.approx(500)
    assert record.tile_seconds.median == pytest.approx(2.5)
    assert record.blend_milliseconds.median == pytest.approx(125)
    assert record.driver_milliseconds.median == pytest.approx(500)


@pytest.mark.parametrize("tiles", [8, 64, 200])
def test_the_farms_level_has_the_tiles_that_are_asked_for(tiles: int) -> None:
    assert Grid.of(level_of(tiles), 512).tiles == tiles


def test_the_arithmetic_of_a_pixel() -> None:
    """0.72 MFLOP forward and as much again back: the sum over VGG-19's first 13 convolutions, by hand."""
    cells = 1, 1 / 4, 1 / 16, 1 / 64, 1 / 256
    pairs = (
        (3 * 64 + 64 * 64),
        (64 * 128 + 128 * 128),
        (128 * 256 + 3 * 256 * 256),
        (256 * 512 + 3 * 512 * 512),
        512 * 512,
    )
    by_hand = sum(share * pair for share, pair in zip(cells, pairs, strict=True))
    assert flop_per_pixel() == pytest.approx(2 * 2 * 9 * by_hand)


def evaluation(way: str, seconds: float, crop_pixels: int) -> Evaluation:
    one = Spread.of([1.0])
    return Evaluation(
        way=way,
        precision="bfloat16",
        width=100,
        height=100,
        pieces=4,
        graphs_kept=0,
        crop_pixels=crop_pixels,
        seconds=Spread(seconds, seconds / 2, seconds * 2, 3),
        megapixels_per_second=one,
        speed_over_plain=one,
        time_over_untiled=one,
        share_of_bare=one,
        peak_gflops=one,
        share_of_peak=one,
    )


def test_whole_levels_are_projected_at_the_untiled_speed() -> None:
    """448x336 has two levels, both whole, with 16 pixels of border on every side."""
    evaluations = [evaluation(UNTILED, 2.0, 10_000), evaluation(EXACT, 8.0, 10_000)]
    (found,) = project(evaluations, Size(448, 336))
    pixels = 300 * (224 + 32) * (168 + 32) + 200 * (448 + 32) * (336 + 32)
    assert found.hours.median == pytest.approx(pixels * 2.0 / 10_000 / 3600)
    assert found.hours.largest == pytest.approx(2 * found.hours.median)
    assert (found.levels, found.piece_megapixels) == (2, 0)


def test_levels_in_pieces_are_projected_by_their_crops_at_the_speed_without_graphs() -> None:
    evaluations = [
        replace(evaluation(UNTILED, 1e9, 1), precision="float32"),
        evaluation(UNTILED, 0.0, 10_000),
        evaluation(EXACT_KEPT, 1e9, 1),
        evaluation(EXACT, 3.0, 15_000),
    ]
    (found,) = project(evaluations)
    # 30 steps and the start at the finest level alone, 6032x4532 with its border, halos not yet counted
    assert found.piece_megapixels > 31 * 6.032 * 4.532
    assert found.hours.median == pytest.approx(found.piece_megapixels * 1e6 * 3.0 / 15_000 / 3600)
    assert found.precision == "bfloat16"


def test_an_unknown_section_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--only", "evaluations"])
    assert stop.value.code == 2
    assert "block_method" in capsys.readouterr().err


SPREAD = {"median", "smallest", "largest", "count"}
KEYS = {
    "evaluation": {
        *("way", "precision", "width", "height", "pieces", "graphs_kept", "crop_pixels", "seconds"),
        *("megapixels_per_second", "speed_over_plain", "time_over_untiled", "share_of_bare"),
        *("peak_gflops", "share_of_peak"),
    },
    "block_method": {
        *("width", "height", "block", "margin", "core", "pieces", "graphs_kept", "graph_budget_bytes"),
        *("seconds", "block_seconds", "time_ratio", "gradient_difference"),
    },
    "scaling": {
        *("width", "height", "pieces", "precision", "one_worker_seconds", "two_workers_seconds"),
        *("two_threads_seconds", "speedup", "threads_speedup"),
    },
    "memory": {
        *("width", "height", "pieces", "precision", "graphs_kept", "contents_kept"),
        *("driver_bytes", "worker_bytes"),
    },
    "files": {
        *("form", "width", "height", "seconds", "processor_seconds", "extra_bytes", "file_bytes"),
    },
    "projection": {
        *("width", "height", "precision", "levels", "whole_megapixels", "piece_megapixels", "hours"),
    },
}
TILE_KEYS = {"tile", "steps", "precision", "seconds", "megapixel_steps_per_second", "share_of_peak"}
FARM_KEYS = {
    *("tile", "workers", "tiles", "tile_seconds", "seconds", "time_over_ideal"),
    *("overhead_milliseconds", "blend_milliseconds", "driver_milliseconds"),
}


@pytest.fixture(scope="module")
def results() -> Results:
    return run(TINY, SECTIONS)


@pytest.fixture(scope="module")
def document(results: Results) -> Any:
    return json.loads(results.to_json())


def measured(record: dict[str, Any]) -> Sequence[dict[str, float]]:
    return [value for value in record.values() if isinstance(value, dict)]


def test_the_json_has_the_documented_keys(document: Any) -> None:
    assert set(document) == {"machine", "scale", "seconds", "sections"}
    assert {"cpu", "cores", "threads", "torch", "fast_precision"} <= set(document["machine"])
    assert document["scale"]["picture"] == {"width": 64, "height": 48}
    sections = document["sections"]
    assert set(sections) == set(SECTIONS)
    for name, keys in KEYS.items():
        assert sections[name]
        assert all(set(record) == keys for record in sections[name])
    assert [set(record) for record in sections["farm"]] == [TILE_KEYS, FARM_KEYS]
    values = [value for records in sections.values() for record in records for value in measured(record)]
    assert len(values) > 20
    for value in values:
        assert set(value) == SPREAD
        assert 0 < value["smallest"] <= value["median"] <= value["largest"]


def test_the_sections_measure_what_they_say(document: Any) -> None:
    sections = document["sections"]
    fast = document["machine"]["fast_precision"]
    found = {(record["way"], record["precision"]): record for record in sections["evaluation"]}
    assert {"float32", fast} == {precision for way, precision in found if way == UNTILED}
    assert {"float32", fast} == {precision for way, precision in found if way == BARE}
    assert {(PLAIN, "float32"), (EXACT_KEPT, fast), (EXACT, fast)} < set(found)
    assert len(found) == len(sections["evaluation"]) == (5 if fast == "float32" else 7)
    kept = {PLAIN: 1, UNTILED: 1, BARE: 1, EXACT_KEPT: 6, EXACT: 0}
    for (way, _), record in found.items():
        cut = way in (EXACT_KEPT, EXACT)
        assert (record["width"], record["height"]) == ((96, 64) if cut else (64, 48))
        assert (record["pieces"], record["crop_pixels"]) == ((6, 6 * 96 * 64) if cut else (1, 64 * 48))
        assert (record["graphs_kept"], record["seconds"]["count"]) == (kept[way], TINY.rounds)
    assert [record["graphs_kept"] for record in sections["block_method"]] == [6, 0]
    assert all(record["gradient_difference"] < 1e-5 for record in sections["block_method"])
    assert sections["farm"][1]["time_over_ideal"]["smallest"] >= 1
    assert sections["farm"][1]["tile_seconds"]["smallest"] >= 0.1
    (memory,) = sections["memory"]
    (file,) = sections["files"]
    assert file["form"] == "TIFF 16 bits, deflate"
    assert 0 < file["extra_bytes"] < 2**30
    assert 0 < file["file_bytes"] < 64 * 48 * 6 + 5000
    assert 50 * 2**20 < memory["driver_bytes"] < memory["worker_bytes"] < 4 * 2**30


def test_the_table_names_the_machine_and_every_section(results: Results) -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(results.table())
    text = capture.get()
    assert results.machine.cpu in text
    assert f"torch {torch.__version__}" in text
    for name in SECTIONS:
        assert f"\n{name} " in text
