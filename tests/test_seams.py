"""Tile and piece borders cannot be found in a finished picture, and bad blends and bad halos can."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

import tilefarm.plan.build
import tilefarm.rounds
from tests.seams import VISIBLE, Pixels, blended, pasted, seam_score, tile_edges
from tilefarm.canvas.blend import blend
from tilefarm.canvas.tile_store import TileStore
from tilefarm.driver import render, run_folder
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Size
from tilefarm.plan.build import LevelPlan
from tilefarm.plan.grid import BORDER, Grid
from tilefarm.plan.halo import ReceptiveField, receptive_field
from tilefarm.prepare import prepare
from tilefarm.solve.coding import decoded
from tilefarm.solve.pieces import PieceSolver
from tilefarm.solve.tasks import Derivatives, MissingState, PieceGradient, PieceTask
from tilefarm.spec.load import load_job

PICTURE = Size(256, 192)
FIELD = receptive_field("vgg19", "relu3_1")
JOB = """
content: content.png
style: style.png
output: {path: out.png, dither: false}
tiles: {size: 64, rounds: 2, iterations: 6}
pyramid: {iterations: [14]}
objective:
  content_weight: 0.2
  content_layers: {relu3_1: 1}
  style_layers: {relu1_1: 1, relu2_1: 1, relu3_1: 1}
compute: {precision: float32}
"""
"""Few steps that change much: the styles' colours are not the content's, and the content weighs little. Both
pictures are soft, as a seam shows least where everything is full of edges."""


def clouds(size: Size, seed: int) -> NDArray[np.uint8]:
    """Coloured noise of several scales, the same everywhere."""
    generator = np.random.default_rng(seed)
    total = np.full((size.height, size.width, 3), 0.5)
    for period, amplitude in ((47, 0.16), (17, 0.11), (7, 0.07), (3, 0.04)):  # not in step with tiles
        coarse = (size.width // period + 2, size.height // period + 2)
        for channel in range(3):
            noise = Image.fromarray(generator.normal(0, amplitude, coarse[::-1]).astype(np.float32))
            fine = noise.resize((coarse[0] * period, coarse[1] * period), Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(fine)[: size.height, : size.width]
    pixels: NDArray[np.uint8] = np.rint(255 * total.clip(0, 1)).astype(np.uint8)
    return pixels


def strokes(seed: int) -> Image.Image:
    """A painting of broad soft strokes in a few colours."""
    generator = np.random.default_rng(seed)
    colours = [(30, 40, 90), (60, 90, 160), (230, 200, 90), (240, 240, 220), (20, 20, 30), (120, 160, 190)]
    painting = Image.new("RGB", (240, 180), colours[0])
    draw = ImageDraw.Draw(painting)
    for x, y in generator.uniform((0, 0), painting.size, (250, 2)):
        angle = 0.8 * np.sin(x / 30) + 0.8 * np.cos(y / 25)
        dx, dy = 22 * np.cos(angle), 22 * np.sin(angle)
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=colours[generator.integers(6)], width=12)
    return painting.filter(ImageFilter.GaussianBlur(3))


def rendered(folder: Path, method: str) -> tuple[Pixels, LevelPlan]:
    """A picture (height, width, 3), 0..1, as it was written, and the plan of its only level."""
    Image.fromarray(clouds(PICTURE, 1)).save(folder / "content.png")
    strokes(2).save(folder / "style.png")
    (folder / "job.yaml").write_text(JOB)
    job = load_job(folder / "job.yaml", [f"method={method}"])
    (level,) = prepare(job).plan.levels
    outcome = render(job, run_folder(job, folder / "runs"), ExecutorChoice("local"), lambda event: None)
    with Image.open(outcome.output) as picture:
        return np.asarray(picture) / 255, level


@dataclass(frozen=True)
class Feathered:
    """A picture painted in tiles, and the tiles of its last round."""

    picture: Pixels
    grid: Grid
    tiles: Pixels

    def score(self, picture: Pixels) -> float:
        return seam_score(picture, tile_edges(self.grid.x), tile_edges(self.grid.y), FIELD.stride)


@pytest.fixture(scope="module")
def feathered(tmp_path_factory: pytest.TempPathFactory) -> Feathered:
    rounds: list[Pixels] = []

    def recording(store: TileStore, grid: Grid, canvas: Path) -> int:
        rounds.append(np.stack([store.read(index) for index in range(grid.tiles)]))
        return blend(store, grid, canvas)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tilefarm.rounds, "blend", recording)
        picture, level = rendered(tmp_path_factory.mktemp("feathered"), "feathered")
    assert len(rounds) == 2
    return Feathered(picture, level.grid, rounds[-1])


def exact_score(folder: Path) -> float:
    """The seam score of a picture painted in pieces."""
    picture, level = rendered(folder, "exact")
    assert len(level.pieces) > 4
    columns = {piece.core.left - BORDER for piece in level.pieces}
    rows = {piece.core.top - BORDER for piece in level.pieces}
    return seam_score(picture, columns, rows, FIELD.stride)


@pytest.mark.parametrize("seed", range(5))
def test_the_score_tells_steps_and_smears_from_nothing(seed: int) -> None:
    """Steps as high as neighbours usually differ are found, and pixels mixed with the ones before."""
    plain = clouds(PICTURE, seed) / 255
    columns, rows = range(32, 256, 32), range(32, 192, 32)
    assert abs(seam_score(plain, columns, rows, 4)) < VISIBLE
    usual = np.abs(np.diff(plain, axis=1)).mean()
    chequered = (np.arange(256) // 32 + np.arange(192)[:, np.newaxis] // 32) % 2
    assert seam_score(plain + usual * chequered[..., np.newaxis], columns, rows, 4) > VISIBLE
    smeared = plain.copy()
    for x in columns:
        smeared[:, x] = (smeared[:, x] + smeared[:, x - 1]) / 2
    for y in rows:
        smeared[y] = (smeared[y] + smeared[y - 1]) / 2
    assert seam_score(smeared, columns, rows, 4) < -VISIBLE


def test_feathered_tiles_leave_no_seams(feathered: Feathered) -> None:
    assert abs(feathered.score(feathered.picture)) < VISIBLE


def test_the_same_tiles_without_the_feather_do(feathered: Feathered) -> None:
    """Each tile pasted over the ones before, and tiles averaged where they overlap.

    Tiles cut in the middle of their overlap cannot serve here: after two rounds they agree there so well
    that nothing is to be seen (a score below 3).
    """
    grid, tiles = feathered.grid, feathered.tiles
    with_ramp = blended(grid, tiles, grid.x.weights(), grid.y.weights())
    assert np.abs(with_ramp - feathered.picture).max() < 0.51 / 255  # they are the picture's tiles
    even = [np.full(axis.tile, 0.5) for axis in (grid.x, grid.y)]
    assert feathered.score(blended(grid, tiles, *even)) > VISIBLE
    assert feathered.score(pasted(grid, tiles)) > VISIBLE


def test_the_exact_method_leaves_no_seams(tmp_path: Path) -> None:
    assert abs(exact_score(tmp_path)) < VISIBLE


def test_pieces_without_a_halo_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tilefarm.plan.build, "receptive_field", lambda *_: ReceptiveField(FIELD.stride, 0, 0))
    assert exact_score(tmp_path) > VISIBLE


def test_pieces_without_the_halos_share_of_the_gradient_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = PieceSolver.gradient

    def core_alone(
        solver: PieceSolver, task: PieceTask, derivatives: Derivatives
    ) -> PieceGradient | MissingState:
        part = whole(solver, task, derivatives)
        assert isinstance(part, PieceGradient)
        gradient = decoded(part.gradient)
        kept = np.zeros_like(gradient)
        core = (slice(task.core.top, task.core.bottom), slice(task.core.left, task.core.right))
        kept[core] = gradient[core]
        return PieceGradient(part.index, kept)

    monkeypatch.setattr(PieceSolver, "gradient", core_alone)
    assert exact_score(tmp_path) > VISIBLE
