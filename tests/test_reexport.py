"""`tilefarm export`: other sizes and forms of a finished run, as other resizers and readers see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.delivered import SIZE, canvas, write_job
from tests.program import Command
from tests.standins import Mixer, opener
from tilefarm.driver import render, run_folder
from tilefarm.errors import JobError
from tilefarm.events import Event, LevelFinished
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Size
from tilefarm.provenance import read_record
from tilefarm.reexport import Request, export_again
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.spec.load import load_job

WHITE = 65535


def finished(
    folder: Path, *overrides: str, output: str = "path: out.tif, dpi: 150", more: str = ""
) -> RunDir:
    job = load_job(write_job(folder, output, more), overrides)
    run = run_folder(job, folder / "runs")
    render(job, run, ExecutorChoice("local"), lambda event: None, opener(Mixer()))
    return run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """One run for tests that only read it, and write somewhere else."""
    return finished(tmp_path_factory.mktemp("done"))


def resized(values: NDArray[np.float32], size: Size) -> NDArray[np.float64]:
    """Pillow's Lanczos with antialiasing in floating point, clipped: shape (height, width, 3)."""
    bands = [
        Image.fromarray(values[..., band]).resize((size.width, size.height), Image.Resampling.LANCZOS)
        for band in range(3)
    ]
    found: NDArray[np.float64] = np.clip(np.dstack([np.asarray(band) for band in bands]), 0, 1)
    return found


@pytest.mark.parametrize("size", [Size(60, 45), Size(47, 35)])
def test_a_smaller_size_is_the_canvas_resized_in_floating_point(
    done: RunDir, tmp_path: Path, size: Size
) -> None:
    path = export_again(Request(done.root, {"path": tmp_path / "small.tif", "width": size.width}))
    found, expected = tifffile.imread(path) / WHITE, resized(canvas(done, 1, SIZE), size)
    assert found.shape == expected.shape
    assert np.abs(found - expected)[3:-3, 3:-3].max() < 0.01  # another Lanczos, in sixteenths of a pixel
    assert np.abs(found - expected).mean() < 0.001
    assert tifffile.imread(path).ravel().tolist() != (tifffile.imread(path) // 256 * 256).ravel().tolist()


def test_a_larger_size_goes_through_the_canvas_pixels(done: RunDir, tmp_path: Path) -> None:
    path = export_again(Request(done.root, {"path": tmp_path / "large.tif", "long_side": 360}))
    found, before = tifffile.imread(path) / WHITE, np.clip(canvas(done, 1, SIZE), 0, 1)
    assert found.shape == (270, 360, 3)
    np.testing.assert_allclose(found[1::3, 1::3], before, atol=2 / 255)  # centres fall on centres


def test_the_same_size_is_the_job_s_own_file(tmp_path: Path) -> None:
    run = finished(tmp_path)
    assert export_again(Request(run.root, {})).read_bytes() == (tmp_path / "out.tif").read_bytes()
    assert (tmp_path / "out-export.tif").exists()
    export_again(Request(run.root, {}))
    assert (tmp_path / "out-export-2.tif").exists()
    assert not [path for path in run.root.iterdir() if path.name.startswith(".")]


def test_colours_after_and_transparency_are_the_jobs(tmp_path: Path) -> None:
    write_job(tmp_path)
    photo = Image.open(tmp_path / "photo.png").convert("RGBA")
    photo.putalpha(Image.linear_gradient("L").resize((SIZE.width, SIZE.height)))
    keys = "color: {mode: statistics, when: after}\nalpha: keep\n"
    job = write_job(tmp_path, "path: out.tif", keys)
    photo.save(tmp_path / "photo.png")
    loaded = load_job(job)
    run = run_folder(loaded, tmp_path / "runs")
    render(loaded, run, ExecutorChoice("local"), lambda event: None, opener(Mixer()))
    export_again(Request(run.root, {"path": tmp_path / "small.tif", "long_side": 60}))
    found, whole = tifffile.imread(tmp_path / "small.tif"), tifffile.imread(tmp_path / "out.tif")
    assert found.shape == (45, 60, 4)
    expected = resized((whole[..., :3] / np.float32(WHITE)).astype(np.float32), Size(60, 45))
    assert np.abs(found[..., :3] / WHITE - expected).mean() < 0.002
    halves = whole[..., 3].reshape(45, 2, 60, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(found[2:-2, 2:-2, 3], halves[2:-2, 2:-2], atol=WHITE / 255)
    coarse = tifffile.imread(export_again(Request(run.root, {"path": tmp_path / "coarse.tif"}, level=1)))
    assert coarse.shape == (45, 60, 4)
    np.testing.assert_allclose(coarse[2:-2, 2:-2, 3], halves[2:-2, 2:-2], atol=WHITE / 255)
    with pytest.raises(JobError, match="keeps the content's transparency"):
        export_again(Request(run.root, {"path": tmp_path / "small.jpg"}))
    for preset in ("lab-srgb", "lab-adobe", "poster"):
        with pytest.raises(JobError, match=f"--preset {preset} is for files without transparency"):
            export_again(Request(run.root, {"path": tmp_path / "lab.tif", "preset": preset}))
    assert not (tmp_path / "lab.tif").exists()
    assert export_again(Request(run.root, {"path": tmp_path / "shelf.tif", "preset": "archive"})).exists()


def test_a_print_is_cut_evenly_and_has_its_size(done: RunDir, tmp_path: Path) -> None:
    paper = {"width": "1in", "height": "1in", "bleed": "0.05in"}
    path = export_again(Request(done.root, {"path": tmp_path / "square.tif", "print": paper, "dpi": 60}))
    found, before = tifffile.imread(path) / WHITE, canvas(done, 1, SIZE)
    assert found.shape == (66, 66, 3)
    expected = resized(np.ascontiguousarray(before[:, 15:105]), Size(66, 66))
    assert np.abs(found - expected)[4:-4, 4:-4].max() < 0.02
    record = read_record(path)
    assert record.trim == [3, 3, 63, 63]
    assert record.paper == paper
    assert record.canvas == [120, 90]
    with Image.open(path) as image:
        assert image.info["dpi"] == (60, 60)


def test_the_record_of_the_jobs_own_print_has_its_paper(tmp_path: Path) -> None:
    paper = {"width": "1in", "height": "1in", "bleed": "0.05in"}
    keys = "print: {width: 1in, height: 1in, bleed: 0.05in}"
    run = finished(tmp_path, output=f"path: out.tif, dpi: 100, {keys}")
    record = read_record(export_again(Request(run.root, {"path": tmp_path / "again.png"})))
    assert (record.picture, record.trim, record.paper) == ([110, 110], [5, 5, 105, 105], paper)
    record = read_record(export_again(Request(run.root, {"path": tmp_path / "small.png", "width": 55})))
    assert (record.picture, record.trim, record.paper) == ([55, 55], None, None)


@pytest.mark.parametrize("given", [{}, {"preset": "archive"}])
def test_a_job_that_wants_no_record_has_none_in_its_exports(tmp_path: Path, given: dict[str, str]) -> None:
    run = finished(tmp_path, output="path: out.tif, provenance: false")
    path = export_again(Request(run.root, {"path": tmp_path / "o.tif", **given}))
    with pytest.raises(JobError, match="carries no record"):
        read_record(path)
    wanted = export_again(Request(run.root, {"path": tmp_path / "p.tif", **given, "provenance": True}))
    assert read_record(wanted).picture == [120, 90]


def test_a_coarser_level_on_demand(done: RunDir, tmp_path: Path) -> None:
    path = export_again(Request(done.root, {"path": tmp_path / "coarse.tif"}, level=1))
    coarse = np.clip(canvas(done, 0, Size(60, 45)), 0, 1)
    np.testing.assert_allclose(tifffile.imread(path) / WHITE, coarse, atol=1 / WHITE)
    with pytest.raises(JobError, match="--level must be 1 to 2"):
        export_again(Request(done.root, {"path": tmp_path / "none.tif"}, level=3))


def test_an_unfinished_run_is_refused_but_for_its_finished_levels(tmp_path: Path) -> None:
    job = load_job(write_job(tmp_path))
    run = run_folder(job, tmp_path / "runs")

    def stop(event: Event) -> None:
        if isinstance(event, LevelFinished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(job, run, ExecutorChoice("local"), stop, opener(Mixer()))
    with pytest.raises(
        JobError, match=r"not finished; finish it first: .*; of its 2 levels 1 are: --level 1"
    ):
        export_again(Request(run.root, {"path": tmp_path / "o.tif"}))
    with pytest.raises(JobError, match=r"level 2 of .* is not finished"):
        export_again(Request(run.root, {"path": tmp_path / "o.tif"}, level=2))
    assert export_again(Request(run.root, {"path": tmp_path / "o.tif"}, level=1)).exists()
    with RunLock(run), pytest.raises(JobError, match="is being worked on"):
        export_again(Request(run.root, {"path": tmp_path / "p.tif"}, level=1))


def test_nothing_is_overwritten_that_is_not_an_export(tmp_path: Path) -> None:
    run = finished(tmp_path)
    (tmp_path / "notes.png").write_text("my diary")
    (tmp_path / "folder.tif").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for name in ("photo.png", "night.png", "out.tif", "notes.png", "folder.tif"):
        with pytest.raises(JobError):
            export_again(Request(run.root, {"path": tmp_path / name, "width": 30}))
        assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before, name


def test_presets_and_profiles_as_other_readers_see_them(tilefarm_command: Command, tmp_path: Path) -> None:
    run = finished(tmp_path).root
    assert tilefarm_command("export", run, "--output", "web.jpg", "--preset", "web").code == 0
    with Image.open("web.jpg") as image:
        assert (image.size, image.info["dpi"]) == ((120, 90), (72, 72)), "a preset's size is a limit"
    assert tilefarm_command("export", run, "--output", "lab.tif", "--preset", "lab-adobe").code == 0
    with tifffile.TiffFile("lab.tif") as file:
        page = file.pages.first
        assert (page.dtype, page.compression.name, page.is_tiled) == (np.dtype("uint8"), "LZW", False)
        assert page.tags["XResolution"].value == (300, 1)
        assert b"Adobe RGB (1998)" in page.iccprofile
    answer = tilefarm_command("export", run, "--output", "w.webp", "--lossless", "--width", "24")
    assert answer.out == f"wrote {tmp_path / 'w.webp'}\n"
    with Image.open("w.webp") as image:
        assert image.size == (24, 18)
    for path in ("web.jpg", "lab.tif", "w.webp"):
        assert read_record(tmp_path / path).canvas == [120, 90]
    assert tilefarm_command("export", run, "--output", "x.png", "--no-provenance").code == 0
    with pytest.raises(JobError, match="carries no record"):
        read_record(tmp_path / "x.png")


def test_an_exported_picture_is_rendered_again_whole(tilefarm_command: Command, tmp_path: Path) -> None:
    run = finished(tmp_path, output="path: out.tif, long_side: 120").root
    assert tilefarm_command("export", run, "--output", "small.jpg", "--width", "40").code == 0
    answer = tilefarm_command("submit", "--from", "small.jpg", "--run-dir", "other")
    assert answer.code == 0, answer.err
    assert "was exported at 40x30 from a canvas of 120x90" in answer.err
    with Image.open("small-again.jpg") as image:
        assert image.size == (120, 90)


def test_all_mistakes_at_once(tilefarm_command: Command, tmp_path: Path) -> None:
    run = finished(tmp_path).root
    answer = tilefarm_command(
        "export", run, "--output", "o.gif", "--width", "0", "--dpi", "0", "--quality", "101"
    )
    assert answer.code == 2
    told = "\n".join(answer.told)
    assert len(answer.told) == 4, told
    for word in ("--output must end in", "--width must be", "--dpi must be", "--quality must be"):
        assert word in told
    for paper in ("40x", "x30cm", "40cm", "40x30"):
        answer = tilefarm_command("export", run, "--output", "o.tif", "--print", paper)
        assert answer.code == 2
        assert "--print must be" in answer.err
    assert "--bleed belongs to --print" in tilefarm_command("export", run, "--bleed", "3mm").err
    assert "holds no job.yaml" in tilefarm_command("export", tmp_path, "--output", "o.tif").err
    assert not list(tmp_path.glob("o.*"))


def test_what_a_killed_export_left_goes_with_the_next(tmp_path: Path) -> None:
    run = finished(tmp_path)
    (run.root / ".export.killed").mkdir()
    (run.root / ".export.killed" / "picture.f32").write_bytes(bytes(100))
    before = sorted(path.name for path in run.root.iterdir() if path.name[0] != ".")
    export_again(Request(run.root, {"path": tmp_path / "small.tif", "width": 30}))
    assert sorted(path.name for path in run.root.iterdir()) == before


def test_a_run_whose_folder_cannot_be_written_is_refused_in_a_sentence(
    tilefarm_command: Command, tmp_path: Path
) -> None:
    run = finished(tmp_path).root
    (run / "lock").unlink(missing_ok=True)
    (run / "lock").mkdir()  # no file can be opened there, whoever tries
    for command in ("export", "recolor"):
        answer = tilefarm_command(command, run, "--output", "o.tif")
        assert (answer.code, len(answer.told)) == (2, 1), answer.err
        assert f"{run} cannot be used" in answer.told[0]
        assert "copy the folder" in answer.told[0]


def test_mistakes_are_told_in_the_words_of_the_command(tilefarm_command: Command, tmp_path: Path) -> None:
    run = finished(tmp_path).root
    told = {
        ("--output", "o.tif", "--pyramid", "--strips"): "--pyramid needs tiles; remove it, or --strips",
        ("--output", "o.tif", "--width", "9", "--height", "9"): "given together with --width; keep only",
        ("--output", "o.tif", "--dither"): "changes nothing with 16 bits; remove it, or give --bit-depth 8",
        ("--output", "o.jpg", "--tiled"): "--tiled is for TIFF, and --output is a JPEG; remove it",
        ("--output", "o.tif", "--profile", "no.icc"): "relative paths start here",
        ("--output", "o.tif", "--print", "4x3cm", "--bleed", "2cm"): "--bleed must be at most a quarter",
        ("--output", 250 * "o" + ".tif"): "--output: no file called",
        ("--output", "o.jpg", "--long-side", "70000"): "--output: JPEG allows at most 65500 pixels",
        ("--output", "o.tif", "--proof", "photo.png"): "--proof must be an ICC profile",
    }
    for typed, words in told.items():
        answer = tilefarm_command("export", run, *typed)
        assert (answer.code, len(answer.told)) == (2, 1), answer.err
        assert words in answer.told[0]
        assert "output." not in answer.told[0]
