"""Prints from the job file to the picture: bleed, mirrors, paper, and what lies on the content."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.standins import Mixer, opener
from tilefarm.driver import Outcome, render, run_folder
from tilefarm.errors import JobError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.image.regions import write_regions
from tilefarm.plan.estimate import disk_bytes
from tilefarm.plan.print_notes import sheet_line, size_notes
from tilefarm.prepare import prepare
from tilefarm.recolor import Request, recolor
from tilefarm.rundir.summary import plan_record
from tilefarm.spec.load import load_job
from tilefarm.start import write_start

WIDTH, HEIGHT = 90, 60
WHITE = 65535
STEP = 2 / WHITE
"""Two steps of 16 bits: tiles of the content are blended in float32."""
SQUARE = "width: 0.9in, height: 0.9in, dpi: 100"
"""90x90 pixels: the content lies on 90x60 of them, at its own size."""

Write = Callable[..., Path]


def photograph(channels: int = 3) -> NDArray[np.uint8]:
    """Smooth, and different everywhere."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [20 + 2 * x, 20 + 3 * y, 100 + 60 * np.sin(x / 9 + y / 5), 255 - x - y]
    return np.stack(planes[:channels], axis=2).astype(np.uint8)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A job file whose output.print has these keys; smaller levels come before the finest one."""
    Image.fromarray(photograph()).save(tmp_path / "content.png")
    Image.fromarray(photograph()[..., ::-1].copy()).save(tmp_path / "style.png")

    def job(paper: str, more: str = "", style: str = "style: style.png") -> Path:
        path = tmp_path / "job.yaml"
        path.write_text(
            f"content: content.png\n{style}\noutput: {{path: out.tif, print: {{{paper}}}}}\n"
            f"method: feathered\npyramid: {{smallest: 64}}\ntiles: {{size: 64, rounds: 1}}\n{more}\n"
        )
        return path

    return job


def submit(path: Path, worker: Mixer | None = None) -> Outcome:
    """With a worker that paints the content itself, so that what it was given is seen."""
    job = load_job(path)
    run = run_folder(job, path.parent / "runs")
    return render(job, run, ExecutorChoice("local"), lambda event: None, opener(worker or Mixer(1.0)))


def painted(path: Path) -> NDArray[np.float64]:
    return tifffile.imread(submit(path).output) / WHITE


def mirrored(pixels: NDArray[np.uint8], bleed: int = 5) -> NDArray[np.float64]:
    """On a square sheet of 90 pixels and its bleed."""
    down = 15 + bleed
    return np.pad(pixels, ((down, down), (bleed, bleed), (0, 0)), mode="symmetric") / 255


def test_pad_goes_on_mirrored_to_the_edge_of_the_file(write: Write) -> None:
    found = painted(write(f"{SQUARE}, bleed: 0.05in, fit: pad"))
    assert found.shape == (100, 100, 3)
    np.testing.assert_allclose(found, mirrored(photograph()), atol=STEP)


def test_exact_has_a_mirrored_bleed(write: Write) -> None:
    found = painted(write("width: 0.9in, height: 0.6in, dpi: 100, bleed: 0.1in, fit: exact"))
    wanted = np.pad(photograph(), ((10, 10), (10, 10), (0, 0)), mode="symmetric") / 255
    np.testing.assert_allclose(found, wanted, atol=STEP)


def test_crop_runs_into_the_bleed(write: Write) -> None:
    found = painted(write("width: 0.5in, height: 0.5in, dpi: 100, bleed: 0.05in"))
    np.testing.assert_allclose(found, photograph()[:, 15:75] / 255, atol=STEP)


def test_a_margin_is_clean_and_nothing_is_painted_for_it(write: Write) -> None:
    path = write(f"{SQUARE}, bleed: 0.05in, fit: pad, pad: '#336699'")
    outcome = submit(path)
    found = tifffile.imread(outcome.output) / WHITE
    wanted = np.broadcast_to([0.2, 0.4, 0.6], (100, 100, 3)).copy()
    wanted[20:80, 5:95] = photograph() / 255
    np.testing.assert_allclose(found, wanted, atol=STEP)
    assert (found[:20] == found[0, 0]).all()
    assert len({tuple(pixel) for pixel in np.concatenate([found[:, 0], found[:, -1]])}) == 1
    assert submit(path).already_done
    worker = Mixer(1.0)
    other = submit(write(f"{SQUARE}, fit: pad, pad: white"), worker)
    assert (other.run, worker.solved, other.already_done) == (outcome.run, 0, False)
    found = tifffile.imread(other.output)
    assert found.shape == (90, 90, 3)
    assert (found[:15] == WHITE).all()
    assert (found[75:] == WHITE).all()


def test_a_turned_content_is_laid_out_as_it_is_seen(write: Write, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photograph()).save(tmp_path / "content.png", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "content.png")))
    found = painted(write(f"{SQUARE}, fit: pad"))
    np.testing.assert_allclose(
        found, np.pad(upright, ((0, 0), (15, 15), (0, 0)), mode="symmetric") / 255, atol=STEP
    )


@pytest.mark.parametrize("pad", ["mirror", "black"])
def test_kept_alpha_goes_on_with_the_content_and_paper_is_solid(
    write: Write, tmp_path: Path, pad: str
) -> None:
    Image.fromarray(photograph(4)).save(tmp_path / "content.png")
    found = painted(write(f"{SQUARE}, bleed: 0.05in, fit: pad, pad: {pad}", "alpha: keep"))
    wanted = mirrored(photograph(4))[..., 3]
    if pad == "black":
        outside = np.ones_like(wanted, dtype=bool)
        outside[20:80, 5:95] = False
        wanted[outside] = 1
        assert (found[outside][:, :3] == 0).all()
    np.testing.assert_allclose(found[..., 3], wanted, atol=STEP)


@pytest.mark.parametrize("mode", ["statistics", "histogram_rgb", "content_luma"])
def test_colours_are_counted_over_what_is_painted(write: Write, mode: str) -> None:
    """The canvas is the mirrored content here: over the same pixels all modes leave it as it is."""
    found = painted(write(f"{SQUARE}, fit: pad", f"color: {{mode: {mode}, when: after}}"))
    np.testing.assert_allclose(found, mirrored(photograph(), 0), atol=0.01)


def test_masks_go_on_with_the_content(write: Write, tmp_path: Path) -> None:
    mask = np.where(photograph()[..., 0] < 110, 255, 0).astype(np.uint8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    styles = "styles: [{image: style.png, mask: mask.png}, {image: style.png}]"
    prepared = prepare(load_job(write(f"{SQUARE}, bleed: 0.05in, fit: pad", style=styles)))
    views, size = prepared.masks.views(prepared.plan.view, prepared.content.size), prepared.plan.output
    regions = write_regions(prepared.masks.regions, views, size, tmp_path / "regions.f32")
    wanted = mirrored(mask[..., np.newaxis])[..., 0]
    found = np.fromfile(regions.path, dtype="<f4").reshape(100, 100, 2)
    np.testing.assert_allclose(found, np.stack([wanted, 1 - wanted], axis=2), atol=1e-6)


@pytest.mark.parametrize("shape", ["content", "sheet", "long"])
def test_a_start_lies_on_the_content_or_on_the_sheet(write: Write, tmp_path: Path, shape: str) -> None:
    size = {"content": (60, 90), "sheet": (100, 100), "long": (60, 200)}[shape]
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "start.png")
    path = write(f"{SQUARE}, bleed: 0.05in, fit: pad", "init: start.png\npyramid: {smallest: 100}")
    path.write_text(path.read_text().replace("pyramid: {smallest: 64}\n", ""))
    prepared = prepare(load_job(path))
    assert str(prepared.plan.levels[0].size) == "100x100"
    write_start(prepared, tmp_path / "unused", (), tmp_path / "start.f32")
    found = np.fromfile(tmp_path / "start.f32", dtype="<f4").reshape(100, 100, 3)
    wanted = (
        pixels / 255 if shape == "sheet" else mirrored(pixels[:, -145:-55] if shape == "long" else pixels)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_recolor_lays_another_content_on_the_same_place(write: Write, tmp_path: Path) -> None:
    run = submit(write(f"{SQUARE}, fit: pad, bleed: 0.05in")).run
    Image.fromarray(photograph()[::-1].copy()).save(tmp_path / "other.png")
    request = Request(run.root, tmp_path / "o.tif", "content_luma", tmp_path / "other.png")
    found = tifffile.imread(recolor(request)) / WHITE
    grey = found @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey, mirrored(photograph()) @ [0.299, 0.587, 0.114], atol=0.1)
    np.testing.assert_allclose(
        found[:20], found[39:19:-1], atol=STEP
    )  # colours are mirrored as the content is
    Image.new("RGB", (90, 50)).save(tmp_path / "wrong.png")
    with pytest.raises(JobError, match="must have the shape of the picture, 100x100"):
        recolor(Request(run.root, tmp_path / "p.tif", "content_luma", tmp_path / "wrong.png"))


def test_recolor_keeps_the_margin(write: Write, tmp_path: Path) -> None:
    run = submit(write(f"{SQUARE}, fit: pad, pad: white")).run
    found = tifffile.imread(recolor(Request(run.root, tmp_path / "o.tif", "statistics")))
    assert found.shape == (90, 90, 3)
    assert (found[:15] == WHITE).all()


def test_a_content_of_another_shape_is_told_with_the_other_problems(write: Write, tmp_path: Path) -> None:
    Image.new("L", (7, 7)).save(tmp_path / "mask.png")
    styles = "styles: [{image: style.png, mask: mask.png}, {image: style.png}]"
    with pytest.raises(JobError) as caught:
        prepare(load_job(write(f"{SQUARE}, fit: exact", style=styles)))
    assert [problem.split(" ")[0] for problem in caught.value.problems] == ["mask", "output.print.fit:"]


def test_a_killed_run_of_a_mirrored_print_goes_on_to_the_same_bytes(write: Write, tmp_path: Path) -> None:
    path = write(f"{SQUARE}, bleed: 0.05in, fit: pad, pad: white", "alpha: keep")
    Image.fromarray(photograph(4)).save(tmp_path / "content.png")
    command = [sys.executable, str(Path(__file__).with_name("standins.py")), str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def drive(runs: str, fault: str | None = None) -> int:
        extra = {} if fault is None else {"TILEFARM_FAULT": fault}
        done = subprocess.run(
            [*command, str(tmp_path / runs)], env=environment | extra, capture_output=True, text=True
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode

    assert drive("undisturbed") == 0
    wanted = (tmp_path / "out.tif").read_bytes()
    (tmp_path / "out.tif").unlink()
    assert drive("killed", "export: canvas coloured") == -signal.SIGKILL
    (run,) = (tmp_path / "killed").iterdir()
    assert list(run.glob(".margin.*"))
    assert drive("killed") == 0
    assert (tmp_path / "out.tif").read_bytes() == wanted
    assert not list(run.glob(".*"))


def test_the_plan_says_what_is_printed(write: Write) -> None:
    prepared = prepare(load_job(write("width: 40cm, height: 30cm, bleed: 3mm")))
    output, plan = prepared.job.output, prepared.plan
    assert sheet_line(output, plan) == (
        "prints 40 x 30 cm at 300 dpi with 3 mm bleed: 4795 x 3614 px; the content's middle 80 x 60 px are "
        "shown, enlarged 60.1 times"
    )
    cut, enlarged = size_notes(output, plan)
    assert prepared.notes[:2] == (cut, enlarged)
    assert cut == (
        "content: only the middle 80x60 of 90x60 fits the print's shape; "
        "output.print.fit: pad shows all of it"
    )
    assert "is enlarged 60.1 times: at 300 dpi the photograph itself has only 5 dpi" in enlarged
    assert "a print of 1.9cm x 1.4cm, output.print.dpi: 14 or a photograph of 1803x1202" in enlarged
    sheet = plan_record(plan)["sheet"]
    assert (sheet["width"], sheet["height"], sheet["bleed"]) == (4795, 3614, [35, 35, 36, 36])
    assert sheet["trim"] == [35, 35, 4759, 3578]
    assert sheet["margin"] is None


@pytest.mark.parametrize(
    ("paper", "said"),
    [
        ("fit: pad", "all of the content, 90 x 60 px, is shown, at its own size, and goes on mirrored"),
        ("fit: pad, pad: white", "is shown, at its own size, with plain paper around it (white)"),
        ("fit: pad, bleed: 2mm", "prints 0.9 x 0.9 in at 100 dpi with 2 mm bleed: 106 x 106 px; all"),
    ],
)
def test_the_plan_says_how_it_fits(write: Write, paper: str, said: str) -> None:
    prepared = prepare(load_job(write(f"{SQUARE}, {paper}")))
    assert said in sheet_line(prepared.job.output, prepared.plan)
    assert prepared.notes == ()


def test_three_times_is_not_more_than_three(write: Write) -> None:
    path = write(SQUARE)
    path.write_text(path.read_text().replace(f"print: {{{SQUARE}}}", "width: 270"))
    prepared = prepare(load_job(path))
    assert list(size_notes(prepared.job.output, prepared.plan)) == []
    assert sheet_line(prepared.job.output, prepared.plan) == (
        "270 x 180 px at 300 dpi are 2.3 x 1.5 cm on paper; all of the content, 90 x 60 px, is shown, "
        "enlarged 3.0 times"
    )
    path.write_text(path.read_text().replace("width: 270", "width: 280"))
    prepared = prepare(load_job(path))
    (note,) = size_notes(prepared.job.output, prepared.plan)
    assert "has only 96 dpi" in note
    assert "an output of 270x180 or a photograph of 94x63 stays within 3 times" in note


def test_disk_is_asked_for_the_paper_too(write: Write) -> None:
    wide = "width: 9in, height: 9in, dpi: 100, fit: pad"
    Image.fromarray(np.zeros((9, 900, 3), np.uint8)).save(write(wide).parent / "content.png")
    job = load_job(write(f"{wide}, pad: white"))
    assert disk_bytes(job, prepare(job).plan) > 900 * 900 * 12  # the sheet as a raw canvas
