"""The plan of a run: sizes, grids, rounds and iterations as the job asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size
from tilefarm.plan.build import RenderPlan, build_plan
from tilefarm.spec.model import Job, Style

MakeJob = Callable[..., Job]
STYLE = Size(1280, 1014)


@pytest.fixture
def print_scale(make_job: MakeJob) -> RenderPlan:
    return build_plan(make_job({"width": 6000}), Size(1200, 900), [STYLE])


def test_print_scale_level_by_level(print_scale: RenderPlan) -> None:
    found = [
        (str(level.size), level.grid.x.count, level.grid.y.count, level.rounds, level.iterations)
        for level in print_scale.levels
    ]
    # at stride 256 a side of n pixels needs ceil(n / 256) + 1 tiles of 512
    assert found == [
        ("188x141", 1, 1, 1, 300),
        ("375x281", 1, 1, 1, 200),
        ("750x562", 4, 4, 3, 30),
        ("1500x1125", 7, 6, 3, 30),
        ("3000x2250", 13, 10, 3, 30),
        ("6000x4500", 25, 19, 3, 30),
    ]
    assert [level.index for level in print_scale.levels] == list(range(6))
    assert print_scale.output == Size(6000, 4500)
    assert (print_scale.content, print_scale.crop) == (Size(1200, 900), Box(0, 0, 1200, 900))


def test_the_work_of_print_scale(print_scale: RenderPlan) -> None:
    tiled = 4 * 4 + 7 * 6 + 13 * 10 + 25 * 19
    assert print_scale.tiles == 2 + 3 * tiled
    whole = (188 + 32) * (141 + 32) * 300 + (375 + 32) * (281 + 32) * 200  # with their reflected borders
    assert print_scale.evaluated_pixels == whole + tiled * 512 * 512 * 3 * 30


def test_rounds_and_iterations_are_the_jobs(make_job: MakeJob) -> None:
    job = make_job(
        {"width": 1800},
        tiles={"size": 256, "rounds": 5, "iterations": 17},
        pyramid={"smallest": 112, "iterations": [9, 8]},
    )
    plan = build_plan(job, Size(1800, 1200), [STYLE])
    # 112, 225, 450, 900, 1800: the first two fit in one tile; the last of [9, 8] would go on
    assert [(level.size.width, level.rounds, level.iterations) for level in plan.levels] == [
        (112, 1, 9),
        (225, 1, 8),
        (450, 5, 17),
        (900, 5, 17),
        (1800, 5, 17),
    ]
    large_tiles = make_job(
        {"width": 1800}, tiles={"size": 2048}, pyramid={"smallest": 112, "iterations": [9, 8]}
    )
    assert [level.iterations for level in build_plan(large_tiles, Size(1800, 1200), [STYLE]).levels] == [
        9,
        8,
        8,
        8,
        8,
    ]


def test_the_exact_method_paints_whole_levels_in_pieces(make_job: MakeJob) -> None:
    plan = build_plan(make_job({"width": 1500}, method="exact"), Size(1200, 900), [STYLE])
    # with the border 782x594 and 1532x1157: cores of at most 512 and the less than 16 that is left over
    assert [
        (str(level.size), len(level.pieces), level.rounds, level.iterations) for level in plan.levels
    ] == [
        ("188x141", 0, 1, 300),
        ("375x281", 0, 1, 200),
        ("750x562", 2 * 2, 1, 100),
        ("1500x1125", 3 * 3, 1, 50),
    ]
    assert plan.levels[-1].grid.box(0) == Box(-16, -16, 1516, 1141)
    halo = 80
    columns = [(0, 496 + halo), (496 - halo, 1008 + halo), (1008 - halo, 1532)]
    rows = [(0, 384 + halo), (384 - halo, 768 + halo), (768 - halo, 1157)]
    crops = sum(b - a for a, b in columns) * sum(b - a for a, b in rows)
    assert plan.levels[-1].evaluated_pixels == crops * 51  # one more, where the steps begin
    assert plan.tiles == 1 + 1 + 4 + 9


@pytest.mark.parametrize("content", [Size(1001, 17), Size(1, 900), Size(6001, 4499)])
def test_the_exact_method_takes_any_size(make_job: MakeJob, content: Size) -> None:
    level = build_plan(make_job(method="exact"), content, [STYLE]).levels[-1]
    window = Size(content.width + 32, content.height + 32)
    assert (level.size, level.grid.tile) == (content, window)
    assert sum(piece.core.size.pixels for piece in level.pieces) == window.pixels


def test_a_level_is_tiled_as_soon_as_one_side_is_longer_than_a_tile(make_job: MakeJob) -> None:
    for width, whole in ((512, True), (513, False)):
        job = make_job({"width": width}, pyramid={"smallest": 512})
        (level,) = build_plan(job, Size(width, 100), [STYLE]).levels
        assert level.grid.is_whole == whole


def test_a_print_shows_the_middle_of_the_content(make_job: MakeJob) -> None:
    job = make_job({"print": {"width": "20in", "height": "15in"}, "dpi": 300})
    plan = build_plan(job, Size(1000, 900), [STYLE])
    assert plan.output == Size(6000, 4500)
    assert plan.crop == Box(0, 75, 1000, 825)
    assert plan.content == Size(1000, 900)
    assert plan.levels[-1].size == Size(6000, 4500)


def test_without_a_size_the_content_decides(make_job: MakeJob) -> None:
    plan = build_plan(make_job(), Size(700, 500), [STYLE])
    assert plan.output == plan.levels[-1].size == Size(700, 500)


def test_each_style_has_its_size_at_each_level(make_job: MakeJob) -> None:
    styles = (Style(image=Path("/in/a.jpg")), Style(image=Path("/in/b.jpg"), scale=0.5))
    plan = build_plan(make_job({"width": 896}, styles=styles), Size(896, 672), [STYLE, Size(500, 1000)])
    assert [level.styles for level in plan.levels] == [
        (Size(224, 177), Size(56, 112)),
        (Size(448, 355), Size(112, 224)),
        (Size(896, 710), Size(224, 448)),
    ]


def test_a_style_without_a_size_is_a_fault(make_job: MakeJob) -> None:
    with pytest.raises(ValueError, match="argument 2 is longer"):
        build_plan(make_job(), Size(100, 100), [])


def test_an_output_longer_than_any_file_is_refused(make_job: MakeJob) -> None:
    with pytest.raises(JobError, match="at most 300000"):
        build_plan(make_job({"width": 10_000}), Size(10, 1000), [STYLE])


@settings(deadline=None)
@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    cells=st.integers(4, 64),
    rounds=st.integers(1, 5),
    iterations=st.lists(st.integers(1, 900), min_size=1, max_size=8),
)
def test_any_plan_covers_its_picture(
    make_job: MakeJob, width: int, height: int, cells: int, rounds: int, iterations: list[int]
) -> None:
    tile = 16 * cells
    job = make_job(
        tiles={"size": tile, "rounds": rounds, "iterations": 7}, pyramid={"iterations": iterations}
    )
    plan = build_plan(job, Size(width, height), [STYLE])
    assert plan.levels[-1].size == plan.output == Size(width, height)
    solves = pixels = 0
    for index, level in enumerate(plan.levels):
        if level.size.long_side <= tile:
            columns = rows = 1
            steps = (1, iterations[min(index, len(iterations) - 1)])
        else:
            columns, rows = (
                math.ceil(side / (tile / 2)) + 1 for side in (level.size.width, level.size.height)
            )
            steps = (rounds, 7)
            assert level.grid.tile == Size(tile, tile)
        assert (level.grid.x.count, level.grid.y.count) == (columns, rows)
        assert (level.rounds, level.iterations) == steps
        first, last = level.grid.box(0), level.grid.box(level.grid.tiles - 1)
        assert first.left <= 0
        assert first.top <= 0
        assert last.right >= level.size.width
        assert last.bottom >= level.size.height
        solves += columns * rows * steps[0]
        pixels += columns * rows * level.grid.tile.pixels * steps[0] * steps[1]
    assert (plan.tiles, plan.evaluated_pixels) == (solves, pixels)


def test_exact_levels_are_whole_up_to_the_usual_tile_and_shared_where_auto_leaves_the_size_open(
    make_job: MakeJob,
) -> None:
    fixed = make_job({"width": 6000}, method="exact", tiles={"size": 2048})
    counts = [len(level.pieces) for level in build_plan(fixed, Size(6000, 4500), [STYLE]).levels]
    assert counts == [0, 0, 1, 1, 4, 9], "188, 375, 750, 1500, 3000, 6000"
    auto = make_job({"width": 6000}, method="exact")
    counts = [len(level.pieces) for level in build_plan(auto, Size(6000, 4500), [STYLE], 2048).levels]
    assert counts == [0, 0, 1, 4, 4, 9], "1500 by pieces of 1024"
