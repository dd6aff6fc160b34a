"""Colours in whole runs, on a worker without a network: which pictures get them, when, and only once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests import standins
from tests.standins import Mixer, opener
from tilefarm.colour.pixels import luma
from tilefarm.colour.transfer import transfer
from tilefarm.driver import Outcome, render, run_folder
from tilefarm.errors import JobError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import inspect
from tilefarm.image.resize import write_content
from tilefarm.image.window import open_raw
from tilefarm.plan.estimate import disk_bytes
from tilefarm.prepare import prepare
from tilefarm.rundir.layout import RunDir
from tilefarm.solve.contract import SolverSettings
from tilefarm.solve.tasks import Measurement, MeasureTask
from tilefarm.spec.load import load_job
from tilefarm.targets import load_targets

Values = NDArray[np.float64]
MakeJob = Callable[..., Path]
LEVELS = (Size(50, 38), Size(100, 75))
WHITE = 65535


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """Two levels: one whole, one in tiles. The pictures have soft colours that fit any brightness."""

    def make(more: str = "") -> Path:
        generator = np.random.default_rng(4)
        content = 120 + 30 * generator.random((75, 100, 1)) + 12 * generator.random((75, 100, 3))
        style = generator.integers(60, 180, (40, 60, 3)) * [1.0, 0.8, 0.6]
        for name, pixels in (("content", content), ("style", style)):
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
        path = tmp_path / "job.yaml"
        path.write_text(
            "content: content.png\nstyle: style.png\noutput: {path: out.tif}\n"
            f"method: feathered\npyramid: {{smallest: 64}}\ntiles: {{size: 64, rounds: 2}}\n{more}"
        )
        return path

    return make


def submit(path: Path, *overrides: str, share: float = 0.5) -> tuple[Outcome, int]:
    """What became of the job, and how many tiles were solved."""
    job = load_job(path, overrides)
    worker = Mixer(share)
    run = run_folder(job, path.parent / "runs")
    outcome = render(job, run, ExecutorChoice("local"), lambda event: None, opener(worker))
    return outcome, worker.solved


def output(outcome: Outcome) -> Values:
    pixels: Values = tifffile.imread(outcome.output).reshape(-1, 3) / WHITE
    return pixels


def canvas(run: RunDir, level: int) -> Values:
    return np.array(open_raw(run.canvas(level), LEVELS[level]), dtype=float).reshape(-1, 3)


def content_at(folder: Path, level: int) -> Values:
    info = inspect(folder / "content.png", "content")
    path = folder / "reference.f32"
    write_content(info, Box.of(info.size), LEVELS[level], path)
    return np.array(open_raw(path, LEVELS[level]), dtype=float).reshape(-1, 3)


def chroma(pixels: Values) -> Values:
    return pixels - luma(pixels)[:, np.newaxis]


# ---- after --------------------------------------------------------------------------------------------


def test_colours_of_the_result_change_without_rendering(make_job: MakeJob) -> None:
    path = make_job()
    plain, solved = submit(path)
    assert solved > 0
    before, bytes_before = output(plain), plain.output.read_bytes()
    coloured, again = submit(path, "color=content_luma")
    assert again == 0
    assert not coloured.already_done
    assert coloured.run == plain.run
    found = output(coloured)
    np.testing.assert_allclose(luma(found), luma(before), atol=1 / WHITE)
    np.testing.assert_allclose(chroma(found), chroma(content_at(path.parent, 1)), atol=1.5 / WHITE)
    assert submit(path, "color=content_luma")[0].already_done
    back, again = submit(path)  # the file is the run's own, so it may be replaced
    assert (again, back.already_done) == (0, False)
    assert back.output.read_bytes() == bytes_before
    assert not list(plain.run.root.glob(".*"))


def test_a_file_that_somebody_changed_is_not_replaced_by_other_colours(make_job: MakeJob) -> None:
    path = make_job()
    outcome, _ = submit(path)
    submit(path, "color=content_luma")
    pixels = tifffile.imread(outcome.output)
    submit(path)
    with tifffile.TiffFile(outcome.output) as file:
        profile = file.pages.first.iccprofile
    tifffile.imwrite(
        outcome.output,
        pixels,
        photometric="rgb",
        iccprofile=profile,
        resolution=(300, 300),
        resolutionunit="INCH",
        metadata=None,
    )
    with pytest.raises(JobError, match="no longer what"):
        submit(path)


@pytest.mark.parametrize("mode", ["content_hsv", "histogram_rgb", "histogram_hsv", "statistics"])
def test_every_mode_after_changes_the_output_alone(make_job: MakeJob, mode: str) -> None:
    path = make_job()
    plain, _ = submit(path)
    before, kept = output(plain), plain.run.canvas(1).read_bytes()
    coloured, again = submit(path, f"color={{mode: {mode}, when: after}}")
    found, wanted = output(coloured), content_at(path.parent, 1)
    assert (again, coloured.run.canvas(1).read_bytes()) == (0, kept)
    assert np.abs(found - before).max() > 0.01
    if mode == "content_hsv":
        np.testing.assert_allclose(found.max(axis=1), before.max(axis=1), atol=1 / WHITE)
        own, other = (x / x.max(axis=1, keepdims=True) for x in (found, wanted))
        np.testing.assert_allclose(own, other, atol=1e-4)
    elif mode != "histogram_hsv":
        np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), atol=1e-3)
        np.testing.assert_allclose(found.std(axis=0), wanted.std(axis=0), atol=1e-3)


# ---- before -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["histogram_rgb", "statistics", "luminance"])
def test_the_style_is_measured_with_the_contents_colours(make_job: MakeJob, mode: str) -> None:
    """The stand-in's statistic is the sum of a pixel's channels, averaged."""
    path = make_job()

    def measured(outcome: Outcome, level: int) -> float:
        styles = load_targets(outcome.run.targets(level), "").styles
        return float(styles["relu1_1"].products[0, 0, 0])

    plain, _ = submit(path)
    coloured, solved = submit(path, f"color={mode}")
    assert coloured.run != plain.run
    assert solved > 0
    for level in range(2):
        content = content_at(path.parent, level)
        wanted = 3 * luma(content).mean() if mode == "luminance" else content.sum(axis=1).mean()
        assert measured(coloured, level) == pytest.approx(wanted, abs=2e-3)
        assert abs(measured(plain, level) - wanted) > 0.1


class MaskedMixer(Mixer):
    """Adds up what it measures of styles, each pixel by its share."""

    def __init__(self, share: float = 0.5) -> None:
        super().__init__(share)
        self.sums: list[Values] = []

    def measure(self, settings: SolverSettings, task: MeasureTask) -> Measurement:
        if task.regions is not None:  # a painting; canvases come without a mask
            core = np.s_[task.core.top : task.core.bottom, task.core.left : task.core.right]
            shares = task.regions[core].reshape(-1, 1).astype(float)
            pixels = task.crop[core].reshape(-1, 3).astype(float)
            self.sums.append(np.append((shares * pixels).sum(axis=0), shares.sum()))
        return super().measure(settings, task)


@pytest.fixture
def framed(make_job: MakeJob) -> MakeJob:
    """The painting in a green frame, which a mask leaves out."""

    def make(more: str) -> Path:
        path = make_job(more)
        style, mask = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
        style[:, :, 1] = 255
        with Image.open(path.parent / "style.png") as inside:
            style[10:50, 10:70], mask[10:50, 10:70] = np.asarray(inside), 255
        Image.fromarray(style).save(path.parent / "style.png")
        Image.fromarray(mask).save(path.parent / "mask.png")
        lines = path.read_text().replace(
            "style: style.png", "styles: [{image: style.png, style_mask: mask.png}]"
        )
        path.write_text(lines)
        return path

    return make


def rendered(path: Path, worker: Mixer, more: str) -> Outcome:
    job = load_job(path, [more])
    run = run_folder(job, path.parent / "runs")
    return render(job, run, ExecutorChoice("local"), lambda event: None, opener(worker))


@pytest.mark.parametrize("mode", ["histogram_rgb", "statistics", "luminance"])
def test_what_a_mask_leaves_of_the_style_gets_the_contents_colours(framed: MakeJob, mode: str) -> None:
    """The mean over what is white is the content's; with the frame in it the painting would lack green."""
    path, worker = framed(""), MaskedMixer()
    rendered(path, worker, f"color={mode}")
    total = sum(worker.sums, np.zeros(4))
    found, content = total[:3] / total[3], content_at(path.parent, 1)
    assert total[3] > 0
    wanted = np.full(3, luma(content).mean()) if mode == "luminance" else content.mean(axis=0)
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_a_start_from_style_statistics_knows_only_what_a_mask_leaves(framed: MakeJob) -> None:
    path = framed("init: style_statistics\n")
    inside = np.asarray(Image.open(path.parent / "style.png"))[10:50, 10:70].reshape(-1, 3) / 255
    outcome = rendered(path, MaskedMixer(0), "seed=1")
    found = canvas(outcome.run, 0)
    found -= (found - inside.mean(axis=0)).mean()  # the stand-in adds a tone of its own
    np.testing.assert_allclose(found.mean(axis=0), inside.mean(axis=0), atol=0.03)


# ---- every level --------------------------------------------------------------------------------------


def test_every_level_starts_from_a_coloured_one(make_job: MakeJob) -> None:
    """A worker that adds only grey keeps the chroma of what it starts from."""
    path = make_job("init: noise\n")
    plain, _ = submit(path, share=0)
    assert np.abs(chroma(canvas(plain.run, 1)) - chroma(content_at(path.parent, 1))).mean() > 0.05
    outcome, _ = submit(path, "color={mode: content_luma, when: every_level}", share=0)
    assert canvas(outcome.run, 0).tobytes() == canvas(plain.run, 0).tobytes()  # canvases stay as painted
    # Enlarged from half the size, the content's fine grain is lost; the noise's colours are far larger.
    difference = chroma(canvas(outcome.run, 1)) - chroma(content_at(path.parent, 1))
    assert np.abs(difference).mean() < 0.01
    np.testing.assert_allclose(chroma(output(outcome)), chroma(content_at(path.parent, 1)), atol=1.5 / WHITE)


@pytest.mark.parametrize("event", [3, 8, 14, 30, 45])
def test_a_killed_run_colours_each_level_once(make_job: MakeJob, event: int, tmp_path: Path) -> None:
    path = make_job("color: {mode: histogram_rgb, when: every_level}\n")
    whole, _ = submit(path)
    expected = {file.name: file.read_bytes() for file in whole.run.root.glob("canvas-*")}
    picture = whole.output.read_bytes()
    whole.output.unlink()
    whole.run.root.rename(tmp_path / "first")
    killed = subprocess.run(
        [sys.executable, standins.__file__, path, tmp_path / "runs", "--kill-at-event", str(event)],
        cwd=Path(standins.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (whole.run.root / ".color.left").mkdir()  # as if the kill had come in the colour step
    outcome, _ = submit(path)
    assert {file.name: file.read_bytes() for file in outcome.run.root.glob("canvas-*")} == expected
    assert outcome.output.read_bytes() == picture
    assert not list(outcome.run.root.glob(".*"))


# ---- luminance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["content", "noise", "style_statistics", "style.png"])
def test_luminance_is_painted_in_grey_and_shown_in_colour(make_job: MakeJob, init: str) -> None:
    path = make_job(f"init: {init}\n")
    outcome, _ = submit(path, "color=luminance")
    for level in range(2):
        grey = canvas(outcome.run, level)
        assert (grey == grey[:, :1]).all()
    found = output(outcome)
    np.testing.assert_allclose(luma(found), luma(canvas(outcome.run, 1).clip(0, 1)), atol=1 / WHITE)
    fits = ((found > 0) & (found < 1)).all(axis=1)
    assert fits.mean() > 0.9
    np.testing.assert_allclose(
        chroma(found)[fits], chroma(content_at(path.parent, 1))[fits], atol=1.5 / WHITE
    )


# ---- room ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", ["content_luma", "{mode: statistics, when: every_level}", "statistics"])
def test_the_colour_step_stays_within_the_disk_that_was_asked_for(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, color: str
) -> None:
    path = make_job()
    job = load_job(path, [f"color={color}"])
    run = run_folder(job, path.parent / "runs")
    sizes = []

    def measuring(*arguments: object) -> None:
        transfer(*arguments)  # type: ignore[arg-type]
        sizes.append(sum(file.stat().st_size for file in run.root.rglob("*.f32")))

    monkeypatch.setattr("tilefarm.colouring.transfer", measuring)
    render(job, run, ExecutorChoice("local"), lambda event: None, opener(Mixer()))
    prepared = prepare(job)
    output_bytes = prepared.plan.output.pixels * 3 * job.output.bit_depth // 8
    assert sizes
    assert max(sizes) <= disk_bytes(job, prepared.plan) - output_bytes
