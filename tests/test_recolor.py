"""`tilefarm recolor`: a finished run or any picture, with other colours and without rendering."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.standins import Mixer, opener
from tilefarm.colour.pixels import luma
from tilefarm.driver import render, run_folder
from tilefarm.errors import JobError
from tilefarm.events import Event, LevelFinished
from tilefarm.execute.open import ExecutorChoice
from tilefarm.provenance import read_record
from tilefarm.recolor import Request, recolor
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.spec.load import load_job

Submit = Callable[..., RunDir]
WHITE = 65535


@pytest.fixture
def submit(tmp_path: Path) -> Submit:
    """Renders a small job with these overrides."""
    generator = np.random.default_rng(4)
    Image.fromarray(generator.integers(0, 256, (75, 100, 3), dtype=np.uint8)).save(tmp_path / "content.png")
    Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / "style.png")
    path = tmp_path / "job.yaml"
    path.write_text(
        "content: content.png\nstyle: style.png\noutput: {path: out.tif, dpi: 150}\n"
        "method: feathered\npyramid: {smallest: 64}\ntiles: {size: 64, rounds: 1}\n"
    )

    def make(*overrides: str, listen: Callable[[Event], None] = lambda event: None) -> RunDir:
        job = load_job(path, overrides)
        run = run_folder(job, tmp_path / "runs")
        render(job, run, ExecutorChoice("local"), listen, opener(Mixer()))
        return run

    return make


def pixels(path: Path) -> NDArray[np.float64]:
    found: NDArray[np.float64] = tifffile.imread(path).reshape(-1, 3) / WHITE
    return found


@pytest.mark.parametrize(
    "mode", ["content_luma", "content_hsv", "histogram_rgb", "histogram_hsv", "statistics"]
)
def test_a_run_gets_the_colours_that_submitting_it_would_give(
    submit: Submit, tmp_path: Path, mode: str
) -> None:
    run = submit()
    before = sorted(run.root.iterdir())
    target = recolor(Request(run.root, tmp_path / "other.tif", mode))
    assert sorted(run.root.iterdir()) == before
    submit(f"color={{mode: {mode}, when: after}}")
    assert target.read_bytes() == (tmp_path / "out.tif").read_bytes()  # the job's dpi as well


def test_a_runs_own_mode_is_the_default(submit: Submit, tmp_path: Path) -> None:
    colors = ("content_hsv", "luminance", "{mode: statistics, when: every_level}", "style", "statistics")
    for color in colors:  # the last one changes the painting before the work, and nothing after it
        run = submit(f"color={color}")
        recolor(Request(run.root, tmp_path / "other.tif"))
        assert (tmp_path / "other.tif").read_bytes() == (tmp_path / "out.tif").read_bytes()


def test_a_run_with_the_colours_of_another_picture(submit: Submit, tmp_path: Path) -> None:
    run = submit()
    Image.new("RGB", (200, 150), (200, 30, 30)).save(tmp_path / "red.png")
    recolor(Request(run.root, tmp_path / "other.tif", "content_hsv", tmp_path / "red.png", dpi=72))
    found, before = pixels(tmp_path / "other.tif"), pixels(tmp_path / "out.tif")
    np.testing.assert_allclose(found[:, 0], before.max(axis=1), atol=1 / WHITE)
    np.testing.assert_allclose(found[:, 1], before.max(axis=1) * 0.15, atol=1 / WHITE)
    with Image.open(tmp_path / "other.tif") as image:
        assert image.info["dpi"] == (72, 72)


def test_any_picture_in_any_format(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    picture = generator.integers(60, 190, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    content = (128 + generator.integers(-20, 20, (60, 80, 3))).astype(np.uint8)
    Image.fromarray(content).save(tmp_path / "content.png")
    request = Request(tmp_path / "picture.png", tmp_path / "new" / "out.png", "content_luma")
    with pytest.raises(JobError, match="--content is missing"):
        recolor(request)
    recolor(Request(request.source, request.output, request.mode, tmp_path / "content.png", bit_depth=8))
    found = np.asarray(Image.open(request.output)).reshape(-1, 3)
    np.testing.assert_allclose(luma(found / 255), luma(picture.reshape(-1, 3) / 255), atol=1 / 255)
    assert np.ptp(found.astype(int) - found[:, 1:2], axis=1).mean() < 30  # the content is nearly grey
    assert [path.name for path in request.output.parent.iterdir()] == ["out.png"]


def test_a_picture_with_its_own_colours_needs_no_content(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    request = Request(tmp_path / "picture.png", tmp_path / "out.tif", "style")
    found = tifffile.imread(recolor(request)).astype(float)
    np.testing.assert_allclose(found / WHITE, picture / 255, atol=1 / WHITE)
    with pytest.raises(JobError, match="--content cannot be given with --mode style"):
        recolor(Request(request.source, request.output, "style", tmp_path / "picture.png"))


def test_colours_of_another_picture_need_a_mode_that_takes_them(submit: Submit, tmp_path: Path) -> None:
    run = submit("color=histogram_rgb")  # before the work: nothing is asked for the result
    Image.new("RGB", (200, 150), (200, 30, 30)).save(tmp_path / "red.png")
    for mode, rule in ((None, "--content needs a --mode"), ("style", "--content cannot be given")):
        with pytest.raises(JobError, match=rule):
            recolor(Request(run.root, tmp_path / "other.tif", mode, tmp_path / "red.png"))
    assert not (tmp_path / "other.tif").exists()


def test_what_is_not_there_is_told_whatever_else_is_missing(tmp_path: Path) -> None:
    with pytest.raises(JobError) as told:
        recolor(Request(tmp_path / "runs" / "gate-0123", tmp_path / "out.tif"))
    path = tmp_path / "runs" / "gate-0123"
    assert told.value.problems == (f"{path} does not exist; name a run folder, or a picture's file",)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    Image.new("RGB", (30, 90)).save(tmp_path / "picture.png")
    with pytest.raises(JobError) as told:
        recolor(Request(tmp_path / "picture.png", tmp_path / "out.gif", "content_lima", dpi=0.5))
    problems = told.value.problems
    assert len(problems) == 4
    assert "did you mean 'content_luma'?" in problems[0]
    assert problems[1].startswith("--content is missing")
    assert problems[2].startswith("--output must end in .tif")
    assert problems[3] == "--dpi must be at least 1, got 0.5"


@pytest.mark.parametrize(
    ("request_of", "sentence"),
    [
        (
            lambda f: Request(f / "nowhere.png", f / "o.tif", "statistics", f / "content.png"),
            "does not exist",
        ),
        (lambda f: Request(f / "empty", f / "o.tif", "statistics"), "holds no job.yaml"),
        (lambda f: Request(f / "content.png", f / "o.tif", "luminance", f / "style.png"), "content_luma"),
        (
            lambda f: Request(f / "content.png", f / "o.tif", "statistics", f / "tall.png"),
            "must have the shape",
        ),
        (lambda f: Request(f / "content.png", f / "content.png", "style", f / "tall.png"), "would overwrite"),
        (
            lambda f: Request(f / "content.png", f / "o.jpg", "style", f / "content.png", bit_depth=16),
            "8 for JPEG",
        ),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    submit: Submit, tmp_path: Path, request_of: Callable[[Path], Request], sentence: str
) -> None:
    Image.new("RGB", (30, 90)).save(tmp_path / "tall.png")
    (tmp_path / "empty").mkdir()
    before = (tmp_path / "content.png").read_bytes()
    with pytest.raises(JobError, match=sentence):
        recolor(request_of(tmp_path))
    assert not list(tmp_path.glob("o.*"))
    assert (tmp_path / "content.png").read_bytes() == before


def test_a_run_that_is_not_finished_is_not_recoloured(submit: Submit, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, LevelFinished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        submit(listen=stop)
    (run,) = (tmp_path / "runs").iterdir()
    with pytest.raises(JobError, match="not finished; finish it first: tilefarm resume"):
        recolor(Request(run, tmp_path / "other.tif", "statistics"))
    assert not (tmp_path / "other.tif").exists()


def test_a_run_in_work_is_left_alone(submit: Submit, tmp_path: Path) -> None:
    run = submit()
    with RunLock(run), pytest.raises(JobError, match="is being worked on"):
        recolor(Request(run.root, tmp_path / "other.tif", "statistics"))


def test_the_command(
    submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tilefarm.cli import app

    run = submit()
    monkeypatch.chdir(tmp_path)
    app(
        ["recolor", str(run.root), "--mode", "statistics", "--output", "o.png", "--bit-depth", "16"],
        standalone_mode=False,
    )
    assert capsys.readouterr().out == f"wrote {tmp_path / 'o.png'}\n"
    with Image.open("o.png") as image:
        assert image.size == (100, 75)


@pytest.mark.parametrize("name", ["content.png", "style.png", "out.tif"])
def test_nothing_that_the_run_reads_or_wrote_is_overwritten(
    submit: Submit, tmp_path: Path, name: str
) -> None:
    run = submit()
    before = (tmp_path / name).read_bytes()
    request = Request(source=run.root, output=tmp_path / name, mode="content_luma")
    with pytest.raises(JobError, match="would overwrite"):
        recolor(request)
    assert (tmp_path / name).read_bytes() == before


CLEAR_JOB = "alpha: {mode: keep, background: '#336699'}\n"


def with_transparency(folder: Path) -> None:
    """The content becomes clear to the right, and the job keeps that on a blue background."""
    values = np.dstack([np.asarray(Image.open(folder / "content.png")), np.tile(ramp(), (75, 1))])
    Image.fromarray(values).save(folder / "content.png")
    (folder / "job.yaml").write_text((folder / "job.yaml").read_text() + CLEAR_JOB)


def ramp() -> NDArray[np.uint8]:
    return np.rint(np.linspace(255, 0, 100)).astype(np.uint8)


@pytest.mark.parametrize("mode", ["content_luma", "statistics"])
def test_a_run_keeps_its_transparency_and_its_background(submit: Submit, tmp_path: Path, mode: str) -> None:
    with_transparency(tmp_path)
    run = submit()
    target = recolor(Request(run.root, tmp_path / "other.tif", mode))
    assert tifffile.imread(target).shape == (75, 100, 4)
    np.testing.assert_allclose(tifffile.imread(target)[40, :, 3] / WHITE, ramp() / 255, atol=1e-4)
    submit(f"color={{mode: {mode}, when: after}}")
    assert target.read_bytes() == (tmp_path / "out.tif").read_bytes()


def test_a_runs_own_transparency_goes_with_the_colours_of_another_picture(
    submit: Submit, tmp_path: Path
) -> None:
    with_transparency(tmp_path)
    run = submit()
    Image.new("RGB", (200, 150), (200, 30, 30)).save(tmp_path / "red.png")
    recolor(Request(run.root, tmp_path / "other.png", "content_hsv", tmp_path / "red.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "other.png"))[40, :, 3], ramp())


def test_the_file_takes_the_options_of_an_export(submit: Submit, tmp_path: Path) -> None:
    run = submit("output.profile=adobe-rgb")
    recolor(Request(run.root, tmp_path / "same.tif", "statistics", keys={"compression": "lzw"}))
    with tifffile.TiffFile(tmp_path / "same.tif") as file:
        assert b"Adobe RGB" in file.pages.first.iccprofile, "the job's own profile goes on"
        assert file.pages.first.compression.name == "LZW"
    recolor(Request(run.root, tmp_path / "plain.tif", "statistics", keys={"profile": "srgb"}))
    with tifffile.TiffFile(tmp_path / "plain.tif") as file:
        assert b"Adobe RGB" not in file.pages.first.iccprofile
    with pytest.raises(JobError, match="--quality is for JPEG and WebP"):
        recolor(Request(run.root, tmp_path / "x.tif", "statistics", keys={"quality": 5}))


@pytest.mark.parametrize(
    ("job", "mode", "content", "color", "told"),
    [
        (
            "color=style",
            "statistics",
            None,
            {"mode": "statistics", "when": "after", "working_space": "srgb"},
            None,
        ),
        (
            "color=statistics",
            "style",
            None,
            {"mode": "statistics", "when": None, "working_space": "srgb"},
            None,
        ),
        (
            "color=statistics",
            "content_hsv",
            None,
            {"mode": "statistics", "when": None, "working_space": "srgb"},
            "content_hsv",
        ),
        (
            "color=style",
            "statistics",
            "red.png",
            {"mode": "style", "when": None, "working_space": "srgb"},
            "statistics of another picture",
        ),
    ],
)
def test_the_record_says_what_was_done(
    submit: Submit, tmp_path: Path, job: str, mode: str, content: str | None, color: object, told: str | None
) -> None:
    run = submit(job)
    Image.new("RGB", (200, 150), (200, 30, 30)).save(tmp_path / "red.png")
    picture = None if content is None else tmp_path / content
    record = read_record(recolor(Request(run.root, tmp_path / "other.tif", mode, picture)))
    assert (record.job["color"], record.recolored) == (color, told)


def test_jpeg_cannot_keep_it(submit: Submit, tmp_path: Path) -> None:
    with_transparency(tmp_path)
    run = submit()
    with pytest.raises(JobError, match=r"--output must be a \.tif, \.png or \.webp file, got other\.jpg"):
        recolor(Request(run.root, tmp_path / "other.jpg", "content_luma"))
    assert not (tmp_path / "other.jpg").exists()
    request = Request(run.root, tmp_path / "other.webp", "content_luma", keys={"lossless": True})
    with Image.open(recolor(request)) as kept:
        np.testing.assert_array_equal(np.asarray(kept)[40, :, 3], ramp())


def test_a_picture_with_transparency_is_flattened_and_that_is_said(tmp_path: Path) -> None:
    Image.new("RGBA", (60, 40), (10, 200, 30, 128)).save(tmp_path / "picture.png")
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / "content.png")
    told: list[str] = []
    request = Request(tmp_path / "picture.png", tmp_path / "o.tif", "content_luma", tmp_path / "content.png")
    assert tifffile.imread(recolor(request, told.append)).shape == (40, 60, 3)
    assert told == ["picture: alpha is flattened on white"]
