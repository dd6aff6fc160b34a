from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from tilefarm.errors import TilefarmError
from tilefarm.geometry import Box
from tilefarm.solve.backend import make_network
from tilefarm.solve.contract import LevelTargets, Picture, SolverSettings, Weights
from tilefarm.solve.measure import measure
from tilefarm.solve.tasks import MeasureTask, TileTask
from tilefarm.solve.tile import solve_tiles
from tilefarm.targets import picture_moments

Settings = Callable[..., SolverSettings]
MakePicture = Callable[[int, int, int], Picture]


@pytest.fixture(scope="module")
def targets(bundled: Weights, settings: Settings, picture: MakePicture) -> LevelTargets:
    chosen = settings()
    network = make_network(chosen, bundled, "cpu")
    whole = Box(0, 0, 128, 96)
    style = measure(network, chosen, MeasureTask(0, picture(96, 128, 50), whole, "style"))
    content = measure(network, chosen, MeasureTask(0, picture(96, 128, 51), whole, "content"))
    squares = {name: s / content.positions[name] / 512 for name, s in content.squares.items()}
    return LevelTargets("test", picture_moments(style.styles), squares)


def tasks(picture: MakePicture, *seeds: int, iterations: int = 4, size: int = 96) -> list[TileTask]:
    pictures = [picture(size, size + 32, seed) for seed in seeds]
    return [TileTask(10 + n, image, image, iterations) for n, image in enumerate(pictures)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bits_do_not_depend_on_threads_or_on_the_neighbour(
    precision: str, bundled: Weights, settings: Settings, targets: LevelTargets, picture: MakePicture
) -> None:
    chosen = settings(precision=precision, tv_weight=1.0, history=3)
    network = make_network(chosen, bundled, "cpu")
    before = torch.get_num_threads()
    images = []
    for threads, neighbour in ((1, 1), (2, 1), (2, 9)):
        torch.set_num_threads(threads)
        solutions = solve_tiles(network, chosen, targets, tasks(picture, 0, neighbour, iterations=4))
        images.append([solution.image for solution in solutions])
    torch.set_num_threads(before)
    one, two, other = images
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])
    assert np.array_equal(other[0], two[0])
    assert not np.array_equal(other[1], two[1])


def test_a_solution_tells_what_happened(
    bundled: Weights, settings: Settings, targets: LevelTargets, picture: MakePicture
) -> None:
    chosen = settings()
    network = make_network(chosen, bundled, "cpu")
    seen: list[tuple[int, float]] = []
    work = tasks(picture, 0, 1, iterations=5, size=48)
    solutions = solve_tiles(network, chosen, targets, work, lambda i, loss: seen.append((i, loss)))
    assert [solution.index for solution in solutions] == [10, 11]
    assert [number for number, _ in seen] == [1, 2, 3, 4, 5]
    assert seen[-1][1] == pytest.approx(np.mean([s.last.total for s in solutions]), rel=1e-6)
    again = solve_tiles(
        network, chosen, targets, [replace(t, image=s.image) for t, s in zip(work, solutions, strict=True)]
    )
    for task, solution, following in zip(work, solutions, again, strict=True):
        assert solution.image.shape == task.image.shape
        assert solution.image.dtype == np.float32
        assert solution.image.flags.c_contiguous
        assert solution.image.base is None, "a view would keep the whole batch in memory"
        assert solution.iterations == 5
        assert solution.rollbacks == 0
        assert solution.first.content == 0.0
        assert solution.last.total < 0.8 * solution.first.total
        expected = 1000 * (solution.last.style + 0.05 * solution.last.content)
        assert solution.last.total == pytest.approx(expected, rel=1e-5)
        assert following.first.total == pytest.approx(solution.last.total, rel=1e-5)
        assert 0 < solution.seconds < 600


def test_bfloat16_ends_near_float32(
    bundled: Weights, settings: Settings, targets: LevelTargets, picture: MakePicture
) -> None:
    ends = []
    for precision in ("float32", "bfloat16"):
        chosen = settings(precision=precision)
        network = make_network(chosen, bundled, "cpu")
        (solution,) = solve_tiles(network, chosen, targets, tasks(picture, 0, iterations=25, size=64))
        # Judged by the same network, so that only the pictures differ.
        judge = make_network(settings(), bundled, "cpu")
        (judged,) = solve_tiles(
            judge, settings(), targets, [TileTask(0, solution.image, picture(64, 96, 0), 0)]
        )
        ends.append(judged.last.total)
        assert judged.first.total == judged.last.total
    assert ends[0] < 0.3 * 1000
    assert ends[1] == pytest.approx(ends[0], rel=0.05)


def test_unlike_tiles_are_refused(
    bundled: Weights, settings: Settings, targets: LevelTargets, picture: MakePicture
) -> None:
    chosen = settings()
    network = make_network(chosen, bundled, "cpu")
    first, second = tasks(picture, 0, 1)
    with pytest.raises(ValueError, match="one shape"):
        solve_tiles(network, chosen, targets, [first, *tasks(picture, 2, size=48)])
    with pytest.raises(ValueError, match="iterations"):
        solve_tiles(network, chosen, targets, [first, replace(second, iterations=9)])
    assert solve_tiles(network, chosen, targets, []) == []


def test_a_start_that_is_not_finite_is_an_error_with_the_tile_s_number(
    bundled: Weights, settings: Settings, targets: LevelTargets, picture: MakePicture
) -> None:
    chosen = settings()
    network = make_network(chosen, bundled, "cpu")
    good, bad = tasks(picture, 0, 1, iterations=2, size=32)
    image = bad.image.copy()
    image[3, 4] = np.nan
    with pytest.raises(TilefarmError, match="tile 11 is not a finite number"):
        solve_tiles(network, chosen, targets, [good, replace(bad, image=image)])
