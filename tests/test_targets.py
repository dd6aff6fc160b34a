"""Targets measured in pieces against an evaluation of the whole picture, written here from the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from tests.moments import gram_sums
from tilefarm.errors import JobError
from tilefarm.execute.local import LocalExecutor
from tilefarm.execute.worker import TileWorker
from tilefarm.geometry import Size
from tilefarm.plan.halo import ReceptiveField, receptive_field
from tilefarm.solve.contract import LevelTargets, RegionMoments, SolverSettings, Weights
from tilefarm.solve.tasks import LayerSums, Measurement, MeasureTask
from tilefarm.solve.weights import load_weights
from tilefarm.targets import (
    Pieces,
    load_targets,
    measure_mean_squares,
    measure_sums,
    picture_moments,
    save_targets,
    style_moments,
)

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYERS = ("relu3_2", "relu4_2")
SETTINGS = SolverSettings(
    network="vgg19",
    pooling="max",
    precision="float32",
    content_layers=tuple((name, 1.0) for name in CONTENT_LAYERS),
    style_layers=tuple((name, 1.0) for name in STYLE_LAYERS),
    content_weight=1.0,
    style_weight=1.0,
    tv_weight=0.0,
    history=5,
)
CORE = 96

Grams = Mapping[str, NDArray[np.floating[Any]]]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights("vgg19", "bundled")


@pytest.fixture(scope="module")
def executor(weights: Weights) -> LocalExecutor:
    return LocalExecutor(TileWorker(weights, "cpu", 1))


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.float32]:
    """Waves and grain, with some values outside 0..1."""
    generator = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = np.stack([np.sin(x / 7 + y / 11 + channel) for channel in range(3)], axis=-1)
    result: NDArray[np.float32] = (0.5 + 0.3 * waves + generator.normal(0, 0.15, waves.shape)).astype(
        np.float32
    )
    return result


def features(weights: Weights, image: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Every layer of VGG-19 by name, (channels, positions), for the whole picture at once in float32."""
    bgr = np.ascontiguousarray(image[:, :, ::-1]) * 255 - np.array([103.939, 116.779, 123.68], np.float32)
    x = torch.from_numpy(bgr.astype(np.float32).transpose(2, 0, 1).copy())[None]
    found = {}
    with torch.no_grad():
        for block, convolutions in enumerate((2, 2, 4, 4, 1), start=1):
            for number in range(1, convolutions + 1):
                name = f"{block}_{number}"
                weight = torch.from_numpy(weights.arrays[f"conv{name}.weight"])
                bias = torch.from_numpy(weights.arrays[f"conv{name}.bias"])
                x = functional.conv2d(functional.pad(x, (1, 1, 1, 1)), weight, bias).clamp(min=0)
                found[f"relu{name}"] = x[0].flatten(1).double().numpy()
            x = functional.max_pool2d(x, 2)
    return found


def whole_grams(weights: Weights, image: NDArray[np.float32]) -> Grams:
    found = features(weights, image)
    return {name: found[name] @ found[name].T / found[name].shape[1] for name in STYLE_LAYERS}


def assert_close(found: Grams, expected: Grams, tolerance: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for layer, gram in expected.items():
        assert np.linalg.norm(found[layer] - gram) < tolerance * np.linalg.norm(gram), layer


def written(folder: Path, image: NDArray[np.float32]) -> tuple[Path, Size]:
    path = folder / "picture.f32"
    image.astype("<f4").tofile(path)
    return path, Size(image.shape[1], image.shape[0])


def field() -> ReceptiveField:
    return receptive_field("vgg19", "relu5_1")


def measured(executor: LocalExecutor, pieces: Pieces) -> Grams:
    calls = 0

    def on_piece() -> None:
        nonlocal calls
        calls += 1

    sums = measure_sums(executor, SETTINGS, pieces, on_piece)
    assert calls == pieces.count
    return {layer: found.products[0] for layer, found in picture_moments(sums).items()}


@pytest.mark.parametrize(
    ("width", "height", "count"),
    [(211, 145, 6), (193, 97, 2), (129, 250, 6), (97, 34, 1), (33, 210, 3)],
)
def test_grams_in_pieces_are_those_of_the_whole(
    executor: LocalExecutor, weights: Weights, tmp_path: Path, width: int, height: int, count: int
) -> None:
    image = picture(width, height)
    pieces = Pieces.of(*written(tmp_path, image), CORE, field())
    assert pieces.count == count
    assert_close(measured(executor, pieces), whole_grams(weights, image))


def test_mean_squares_in_pieces_are_those_of_the_whole(
    executor: LocalExecutor, weights: Weights, tmp_path: Path
) -> None:
    image = picture(203, 145, seed=1)
    pieces = Pieces.of(*written(tmp_path, image), CORE, field())
    squares = measure_mean_squares(executor, SETTINGS, pieces, lambda: None)
    found = features(weights, image)
    assert squares == pytest.approx({name: np.mean(found[name] ** 2) for name in CONTENT_LAYERS}, rel=1e-5)


@pytest.mark.parametrize(("width", "height"), [(300, 5), (5, 300), (1, 1), (300, 1), (31, 40), (8, 8)])
def test_thin_pictures_are_widened_by_reflection(
    executor: LocalExecutor, weights: Weights, tmp_path: Path, width: int, height: int
) -> None:
    """The short side to 32 pixels, the picture in the middle; a long side stays as it is."""
    image = picture(width, height, seed=2)
    pieces = Pieces.of(*written(tmp_path, image), CORE, field())
    assert pieces.count == 1
    wide = image
    for axis, length in enumerate((height, width)):
        missing = max(0, 32 - length)
        around = [(0, 0)] * 3
        around[axis] = (-(-missing // 2), missing // 2)
        wide = np.pad(wide, around, mode="reflect" if length > 1 else "edge")  # one sample is constant
    assert_close(measured(executor, pieces), whole_grams(weights, wide))


def test_a_crop_is_the_middle_of_the_style(executor: LocalExecutor, weights: Weights, tmp_path: Path) -> None:
    image = picture(200, 90, seed=3)
    path, size = written(tmp_path, image)
    pieces = Pieces.centred(path, size, Size(64, 64))
    assert pieces.count == 1
    assert_close(measured(executor, pieces), whole_grams(weights, image[13:77, 68:132]))
    # larger than the style: mirrored on both sides
    pieces = Pieces.centred(path, size, Size(128, 128))
    expected = np.pad(image[:, 36:164], [(19, 19), (0, 0), (0, 0)], mode="reflect")
    assert_close(measured(executor, pieces), whole_grams(weights, expected))


def test_the_order_in_which_pieces_come_back_does_not_matter(executor: LocalExecutor, tmp_path: Path) -> None:
    pieces = Pieces.of(*written(tmp_path, picture(211, 145)), CORE, field())
    in_order = list(executor.measure(SETTINGS, pieces.tasks("style")))
    expected = measure_sums(executor, SETTINGS, pieces, lambda: None)

    class Shuffled:
        def measure(self, settings: SolverSettings, tasks: object) -> list[Measurement]:
            return [in_order[index] for index in (3, 0, 5, 4, 1, 2)]

    found = measure_sums(Shuffled(), SETTINGS, pieces, lambda: None)  # type: ignore[arg-type]
    for layer, sums in expected.items():
        assert found[layer].products.tobytes() == sums.products.tobytes()
        assert found[layer].sums.tobytes() == sums.sums.tobytes()
        assert found[layer].weights.tobytes() == sums.weights.tobytes()


def test_a_piece_that_is_missing_is_noticed(executor: LocalExecutor, tmp_path: Path) -> None:
    pieces = Pieces.of(*written(tmp_path, picture(203, 97)), CORE, field())
    parts = list(executor.measure(SETTINGS, pieces.tasks("style")))

    class Losing:
        def measure(self, settings: SolverSettings, tasks: object) -> list[Measurement]:
            return parts[1:]

    with pytest.raises(RuntimeError, match="piece 0"):
        measure_sums(Losing(), SETTINGS, pieces, lambda: None)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    core=st.integers(1, 12).map(lambda cells: 16 * cells),
)
def test_pieces_cover_the_picture_once(
    tmp_path_factory: pytest.TempPathFactory, width: int, height: int, core: int
) -> None:
    """Each position of the deepest layer, 16 pixels wide, lies in one core; its crop is really there."""
    image = np.zeros((height, width, 3), np.float32)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    image[..., 0], image[..., 1] = x, y
    path = tmp_path_factory.getbasetemp() / "covered.f32"
    image.tofile(path)
    pieces = Pieces.of(path, Size(width, height), core, field())
    tasks: list[MeasureTask] = list(pieces.tasks("style"))
    assert [task.index for task in tasks] == list(range(pieces.count))
    if min(width, height) < 32:
        assert len(tasks) == 1
        return
    seen = np.zeros((height, width), dtype=int)
    for task in tasks:
        left, top = task.crop[0, 0, :2].astype(int)
        part = task.core
        assert (left + part.left) % 16 == (top + part.top) % 16 == 0
        seen[top + part.top : top + part.bottom, left + part.left : left + part.right] += 1
        # a crop shows 80 pixels around its core, or ends where the picture ends
        assert part.left == min(80, left + part.left)
        assert part.top == min(80, top + part.top)
        assert task.crop.shape[1] - part.right == min(80, width - (left + part.right))
        assert task.crop.shape[0] - part.bottom == min(80, height - (top + part.bottom))
    assert (seen == 1).all()


def test_weights_of_several_styles() -> None:
    first = {"a": np.array([[4.0, 0.0], [0.0, 8.0]]), "b": np.array([[1.0]])}
    second = {"a": np.array([[0.0, 4.0], [4.0, 0.0]]), "b": np.array([[5.0]])}
    mixed = style_moments([gram_sums(first), gram_sums(second)], [3.0, 1.0], [(0, 1)])
    assert mixed["a"].products.tolist() == [[[3.0, 1.0], [1.0, 6.0]]]
    assert mixed["b"].products.tolist() == [[[2.0]]]
    assert {style.products.dtype for style in mixed.values()} == {np.dtype(np.float32)}
    alone = style_moments([gram_sums(first)], [0.2], [(0,)])
    assert alone["a"].products.tolist() == [first["a"].tolist()]


def test_a_style_that_its_mask_leaves_nothing_of_has_no_part() -> None:
    """The mean of what is there, 3, and not of it and zeros."""
    full, empty = gram_sums({"a": np.array([[3.0]]), "b": np.array([[5.0]])}), gram_sums({})
    for layer, weight in (("a", 0.0), ("b", 1.0)):
        empty[layer] = LayerSums(np.array([weight]), np.zeros((1, 1)), np.array([[[weight]]]))
    mixed = style_moments([full, empty], [1.0, 1.0], [(0, 1)])
    assert mixed["a"].products.tolist() == [[[3.0]]]
    assert mixed["b"].products.tolist() == [[[3.0]]]  # (5 + 1) / 2
    with pytest.raises(JobError) as caught:
        style_moments([full, empty, empty], [1.0] * 3, [(0,), (1, 2)])
    assert caught.value.problems == (
        "style_mask of style 2, 3 must be white where a looks at the style picture, got black at each of its "
        "positions; paint more of it white, away from the edges, or set objective.style_target: whole",
    )


@settings(deadline=None)
@given(
    weights=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5),
    factor=st.floats(1e-3, 1e3),
)
def test_only_the_proportions_of_weights_count(weights: list[float], factor: float) -> None:
    sums = [gram_sums({"a": np.array([[float(number)]])}) for number in range(len(weights))]
    expected = np.average(range(len(weights)), weights=weights)
    for scaled in (weights, [factor * weight for weight in weights]):
        mixed = style_moments(sums, scaled, [range(len(weights))])
        assert mixed["a"].products[0, 0, 0] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_targets_survive_the_disk(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    styles = {
        name: RegionMoments(
            generator.random((2, 7), dtype=np.float32), generator.random((2, 7, 7), dtype=np.float32)
        )
        for name in STYLE_LAYERS
    }
    path = tmp_path / "targets.npz"
    targets = LevelTargets("", styles, {"relu4_2": 0.1, "relu3_2": 3.0}, (0.3, 1.7))
    crc = save_targets(path, targets)
    loaded = load_targets(path, "key")
    assert loaded.key == "key"
    assert loaded.content_mean_squares == {"relu4_2": 0.1, "relu3_2": 3.0}
    assert loaded.region_weights == (0.3, 1.7)
    assert loaded.styles.keys() == styles.keys()
    for name, style in styles.items():
        for found, known in (
            (loaded.styles[name].means, style.means),
            (loaded.styles[name].products, style.products),
        ):
            assert (found.dtype, found.shape) == (known.dtype, known.shape)
            assert found.tobytes() == known.tobytes()
    assert save_targets(path, targets) == crc
    changed = replace(targets, content_mean_squares={"relu4_2": 0.2, "relu3_2": 3.0})
    assert save_targets(path, changed) != crc
