"""Styles in regions of their own, from the job file to the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.standins import Mixer, opener
from tilefarm.driver import render, run_folder
from tilefarm.errors import JobError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Box, Size, View
from tilefarm.prepare import prepare
from tilefarm.spec.load import load_job
from tilefarm.spec.regions import is_masked, regions_of

LOCAL = ExecutorChoice("local")
OBJECTIVE = """\
objective:
  content_weight: 0.2
  content_layers: {relu2_1: 1}
  style_layers: {relu1_1: 1, relu2_1: 1, relu3_1: 1}
"""


def texture(low: tuple[int, int, int], high: tuple[int, int, int], seed: int) -> NDArray[np.uint8]:
    """Blotches of two colours, (48, 64, 3)."""
    grain = np.random.default_rng(seed).random((12, 16, 1)).repeat(4, 0).repeat(4, 1)
    picture: NDArray[np.uint8] = (np.array(low) + grain * (np.array(high) - np.array(low))).astype(np.uint8)
    return picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A grey photograph, a red and a blue painting, and masks for its left half."""
    y, x = np.mgrid[0:72, 0:96]
    grey = (128 + 40 * np.sin(x / 5) + 40 * np.cos(y / 7)).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / "content.png")
    Image.fromarray(texture((120, 20, 10), (255, 120, 60), 1)).save(tmp_path / "red.png")
    Image.fromarray(texture((10, 20, 120), (60, 120, 255), 2)).save(tmp_path / "blue.png")
    left = np.where(np.arange(96) < 48, 255, 0).astype(np.uint8)
    Image.fromarray(np.tile(left, (72, 1))).save(tmp_path / "left.png")
    Image.fromarray(np.tile(left[::2], (36, 1))).save(tmp_path / "small-left.png")
    Image.fromarray(np.tile(255 - left, (72, 1))).save(tmp_path / "right.png")
    Image.fromarray(np.zeros((72, 96), np.uint8)).save(tmp_path / "black.png")
    Image.fromarray(np.full((72, 50), 255, np.uint8)).save(tmp_path / "narrow.png")
    return tmp_path


def write(folder: Path, styles: str, more: str = "") -> Path:
    path = folder / "job.yaml"
    path.write_text(f"content: content.png\nstyles: {styles}\noutput: {{path: out.png}}\n{more}")
    return path


MASKED = "[{image: red.png, mask: left.png}, {image: blue.png}]"


@pytest.mark.parametrize(
    ("styles", "more"),
    [
        (MASKED, "method: exact\ntiles: {size: 64}\npyramid: {smallest: 64, iterations: [30, 20]}"),
        (
            "[{image: blue.png, mask: right.png}, {image: red.png, mask: small-left.png}]",
            "method: feathered\ntiles: {size: 64, rounds: 2, iterations: 8}\n"
            "pyramid: {smallest: 64, iterations: [30]}",
        ),
    ],
)
def test_each_painting_acts_where_its_mask_says(folder: Path, styles: str, more: str) -> None:
    job = load_job(write(folder, styles, OBJECTIVE + more + "\ncompute: {precision: float32}\n"))
    render(job, run_folder(job, folder / "runs"), LOCAL, lambda event: None)
    picture = np.asarray(Image.open(folder / "out.png"), dtype=np.float64)
    left, right = picture[:, :40].mean((0, 1)), picture[:, 56:].mean((0, 1))
    assert left[0] - left[2] > 60, left
    assert right[2] - right[0] > 60, right
    across = (picture[:, :, 0] - picture[:, :, 2]).mean(0)
    assert across[:44].min() > 0
    assert across[52:].max() < 0


def test_a_mask_on_the_painting_chooses_what_is_learned(folder: Path) -> None:
    both = np.concatenate([np.asarray(Image.open(folder / name)) for name in ("red.png", "blue.png")], axis=1)
    Image.fromarray(both).save(folder / "both.png")
    part = np.where(np.arange(128) < 60, 255, 0).astype(np.uint8)
    Image.fromarray(np.tile(part, (48, 1))).save(folder / "part.png")
    job = load_job(
        write(
            folder,
            "[{image: both.png, style_mask: part.png}]",
            OBJECTIVE + "pyramid: {smallest: 96, iterations: [25]}\ncompute: {precision: float32}\n",
        )
    )
    render(job, run_folder(job, folder / "runs"), LOCAL, lambda event: None)
    found = np.asarray(Image.open(folder / "out.png"), dtype=np.float64).mean((0, 1))
    assert found[0] - found[2] > 60, found


def test_regions_follow_the_masks(folder: Path) -> None:
    styles = (
        "[{image: red.png}, {image: blue.png, mask: left.png}, {image: red.png, mask: left.png}, "
        "{image: blue.png, mask: right.png}]"
    )
    job = load_job(write(folder, styles))
    assert is_masked(job)
    regions = regions_of(job)
    assert [(region.mask and region.mask.name, region.styles) for region in regions] == [
        ("left.png", (1, 2)),
        ("right.png", (3,)),
        (None, (0,)),
    ]
    plain = load_job(write(folder, "[{image: red.png}, {image: blue.png}]"))
    assert not is_masked(plain)
    assert [(region.mask, region.styles) for region in regions_of(plain)] == [(None, (0, 1))]


def test_crops_of_the_content_are_those_of_masks_of_any_size(folder: Path) -> None:
    styles = "[{image: red.png, mask: small-left.png}, {image: blue.png, mask: right.png}, {image: red.png}]"
    prepared = prepare(load_job(write(folder, styles)))
    shown = View(Box(48, 0, 96, 36), Size(50, 50), Box(0, 5, 50, 45))
    views = prepared.masks.views(shown, Size(96, 72))
    assert [view.crop for view in views] == [Box(24, 0, 48, 18), shown.crop, shown.crop]
    assert {(view.canvas, view.place) for view in views} == {(shown.canvas, shown.place)}


@pytest.mark.parametrize(
    ("style", "said"),
    [
        (
            "mask: black.png",
            "mask of style 1: .*black.png must be white somewhere, got a black picture",
        ),
        ("mask: narrow.png", "must have the shape of the content, 96x72, got 50x72"),
        (
            "style_mask: narrow.png",
            "style_mask of style 1: .* must have the shape of its style picture, 64x48",
        ),
    ],
)
def test_unfit_masks_are_told_before_any_work(folder: Path, style: str, said: str) -> None:
    job = load_job(write(folder, f"[{{image: red.png, {style}}}]"))
    with pytest.raises(JobError, match=said):
        prepare(job)


CROPPED = (
    "objective: {style_target: crop, content_layers: {relu2_1: 1}, style_layers: {relu1_1: 1, relu2_1: 1}}\n"
    "method: feathered\ntiles: {size: 64, rounds: 1, iterations: 1}\n"
    "pyramid: {smallest: 64, iterations: [1]}\ncompute: {precision: float32}\n"
)


def white_columns(path: Path, begin: int, end: int, turned: bool = False) -> None:
    """A mask of 96x72 that is white in these columns; `turned`: stored on its side, as EXIF then says."""
    mask = np.zeros((72, 96), np.uint8)
    mask[:, begin:end] = 255
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 6  # its row 0 is seen at the right, its column 0 at the top
        mask = np.ascontiguousarray(mask.T[::-1])
    Image.fromarray(mask).save(path, exif=exif)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("end", [12, 84])
def test_a_mask_that_misses_what_is_cropped_is_told_before_any_work(
    folder: Path, end: int, turned: bool
) -> None:
    """The crop at 96x72 is of columns 16 to 80, and a resampling kernel may reach 4 further."""
    white_columns(folder / "edge.png", 0 if end == 12 else end, 12 if end == 12 else 96, turned)
    styles = "[{image: blue.png}, {image: red.png, style_mask: edge.png}]"
    with pytest.raises(JobError) as caught:
        prepare(load_job(write(folder, styles, CROPPED)))
    assert caught.value.problems == (
        f"style_mask of style 2: {folder / 'edge.png'} must be white somewhere in the middle 64x64 pixels of "
        "its style picture at 96x72, which is all that objective.style_target: crop looks at, got black; "
        "paint white there, or set objective.style_target: whole",
    )
    prepare(load_job(write(folder, styles, CROPPED.replace("crop", "whole"))))
    white_columns(folder / "edge.png", 0 if end == 12 else end - 1, 13 if end == 12 else 96, turned)
    prepare(load_job(write(folder, styles, CROPPED)))


def test_a_mask_that_is_white_just_beside_the_crop_is_told_when_it_is_measured(folder: Path) -> None:
    white_columns(folder / "edge.png", 0, 15)
    job = load_job(write(folder, "[{image: red.png, style_mask: edge.png}]", CROPPED))
    with pytest.raises(JobError, match="style_mask of style 1 must be white where relu1_1 looks at"):
        render(job, run_folder(job, folder / "runs"), LOCAL, lambda event: None)


def test_all_masks_that_cannot_be_read_are_told(folder: Path) -> None:
    (folder / "text.png").write_text("no picture")
    styles = "[{image: red.png, mask: text.png, style_mask: text.png}]"
    with pytest.raises(JobError) as caught:
        prepare(load_job(write(folder, styles)))
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "mask of style 1",
        "style_mask of style 1",
    ]
    with pytest.raises(JobError, match=r"styles\.0\.mask"):
        load_job(write(folder, "[{image: red.png, mask: nowhere.png}]"))


def test_no_working_files_of_masks_are_left(folder: Path) -> None:
    more = "method: feathered\ntiles: {size: 64}\npyramid: {smallest: 64, iterations: [1]}\n"
    styles = "[{image: red.png, mask: left.png, style_mask: red.png}, {image: blue.png}]"
    job = load_job(write(folder, styles, more))
    run = run_folder(job, folder / "runs")
    render(job, run, LOCAL, lambda event: None, opener(Mixer()))
    assert not [path.name for path in run.root.iterdir() if "region" in path.name or "mask" in path.name]
