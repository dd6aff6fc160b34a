"""Whole runs on a worker without a network: what the driver makes of its results, at any size."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests import standins
from tests.standins import Mixer, opener
from tilefarm.driver import Outcome, render, run_folder
from tilefarm.errors import JobError
from tilefarm.events import Event, PiecesProgress, RunFinished, RunStarted, TileFinished
from tilefarm.execute.open import ExecutorChoice
from tilefarm.execute.protocol import Executor
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import inspect
from tilefarm.image.profiles import load_profile
from tilefarm.image.resize import write_content
from tilefarm.image.window import open_raw
from tilefarm.output.check import check_output
from tilefarm.rundir.layout import RunDir
from tilefarm.sealed import opened_json, sealed_json
from tilefarm.solve.contract import Weights
from tilefarm.spec.load import load_job

LOCAL = ExecutorChoice("local")
SMALL = "method: feathered\npyramid: {smallest: 64}\ntiles: {size: 64, rounds: 2}\n"

MakeJob = Callable[..., Path]


def ramp(width: int, height: int) -> NDArray[np.uint8]:
    """A picture that grows to the right in red and downwards in green."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    channels = [x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), np.full(x.shape, 77)]
    picture: NDArray[np.uint8] = np.stack(channels, axis=-1).round().astype(np.uint8)
    return picture


def grain(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """Writes pictures and a job file; `more` are its further lines."""

    def make(
        content: NDArray[np.uint8],
        style: NDArray[np.uint8] | None = None,
        output: str = "{path: out.tif}",
        more: str = SMALL,
    ) -> Path:
        Image.fromarray(content).save(tmp_path / "content.png")
        Image.fromarray(grain(48, 32) if style is None else style).save(tmp_path / "style.png")
        path = tmp_path / "job.yaml"
        styles = "" if "styles:" in more else "style: style.png\n"
        path.write_text(f"content: content.png\n{styles}output: {output}\n{more}")
        return path

    return make


def no_executor(weights: Weights, most: int) -> Executor:
    raise AssertionError("an executor was opened")


@dataclass(frozen=True)
class Rendered:
    """One submit."""

    outcome: Outcome
    events: list[Event]
    solved: int

    @property
    def run(self) -> RunDir:
        return self.outcome.run

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.run.summary.read_text())
        return record

    @property
    def pixels(self) -> NDArray[np.uint16]:
        pixels: NDArray[np.uint16] = tifffile.imread(self.outcome.output)
        return pixels


def submit(job_file: Path, share: float = 0.5, *overrides: str) -> Rendered:
    job = load_job(job_file, overrides)
    events: list[Event] = []
    worker = Mixer(share)
    outcome = render(job, run_folder(job, job_file.parent / "runs"), LOCAL, events.append, opener(worker))
    return Rendered(outcome, events, worker.solved)


def content_at(job_file: Path, size: Size) -> NDArray[np.float32]:
    """The content resized straight to a size, in 0..1."""
    info = inspect(job_file.parent / "content.png", "content")
    path = job_file.parent / "reference.f32"
    write_content(info, Box.of(info.size), size, path)
    return np.clip(np.array(open_raw(path, size)), 0, 1)


# ---- a print ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Print:
    job_file: Path
    output: Path
    run: RunDir
    facts: dict[str, Any]


@pytest.fixture(scope="module")
def large_print(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Print]:
    """6000x4500 in a process of its own, in tiles of the default size."""
    folder = tmp_path_factory.mktemp("print")
    Image.fromarray(ramp(1200, 900)).save(folder / "content.png")
    Image.fromarray(grain(300, 200)).save(folder / "style.png")
    job_file = folder / "print.yaml"
    job_file.write_text(
        "content: content.png\nstyle: style.png\n"
        "output: {path: print.tif, width: 6000, dpi: 240}\nmethod: feathered\ntiles: {rounds: 1}\n"
    )
    process = subprocess.run(
        [sys.executable, standins.__file__, job_file, folder / "runs", "--share", "1"],
        cwd=Path(standins.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    run = run_folder(load_job(job_file), folder / "runs")
    yield Print(job_file, folder / "print.tif", run, json.loads(process.stdout))
    shutil.rmtree(folder)  # two gigabytes


def test_a_large_print_needs_little_memory(large_print: Print) -> None:
    """Driver and worker together: the picture alone, in float32, has 309 MiB, and its tiles 1.4 GiB."""
    assert large_print.facts["peak_rss"] < 2**30
    assert large_print.facts["heavy"] == []  # the driver's part imports neither torch nor ray
    record = json.loads(large_print.run.summary.read_text())
    assert 0 < record["peak_rss_bytes"]["driver"] <= large_print.facts["peak_rss"]


def test_a_large_print_is_the_content_enlarged(large_print: Print) -> None:
    pixels = tifffile.imread(large_print.output)
    assert (pixels.shape, pixels.dtype) == ((4500, 6000, 3), np.dtype(np.uint16))
    expected = content_at(large_print.job_file, Size(6000, 4500))
    for start in range(0, 4500, 500):
        part = slice(start, start + 500)
        difference = np.abs(pixels[part] / 65535 - expected[part])
        assert difference.max() <= 0.51 / 65535  # rounding, and the feather's weights in float32
    # and by arithmetic: red is a ramp over the pixels' centres, written with 8 bits
    x = ((np.arange(6000) + 0.5) / 5 - 0.5) / 1199
    inner = slice(10, -10)
    assert np.abs(pixels[2000, inner, 0] / 65535 - x[inner]).max() < 0.7 / 255


def test_a_large_print_opens_elsewhere(large_print: Print) -> None:
    with tifffile.TiffFile(large_print.output) as file:
        page = file.pages.first
        assert page.bitspersample == 16
        assert page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1] == pytest.approx(240)
    with Image.open(large_print.output) as image:
        assert image.size == (6000, 4500)
        assert [float(value) for value in image.info["dpi"]] == pytest.approx([240, 240])
        assert image.info["icc_profile"]
        image.crop((5000, 4000, 5100, 4100)).load()


def test_a_finished_run_keeps_no_slots(large_print: Print) -> None:
    names = {path.name for path in large_print.run.root.iterdir()}
    assert "tiles.f32" not in names
    assert not {name for name in names if name.startswith((".", "content-", "style-"))}


# ---- run.json and events ------------------------------------------------------------------------------


def test_the_record_of_a_run(make_job: MakeJob, tmp_path: Path) -> None:
    job_file = make_job(grain(200, 150), output="{path: out/a.tif, dpi: 150}")
    rendered = submit(job_file)
    record = rendered.record
    assert record["status"] == "done"
    assert record["output"] == str(tmp_path / "out" / "a.tif")
    assert (record["width"], record["height"]) == (200, 150)
    assert (record["method"], record["network"]) == ("feathered", "vgg19")
    assert len(record["weights_sha256"]) == 64
    assert record["seconds"] > 0
    assert record["peak_rss_bytes"]["driver"] > 2**20
    assert len(record["peak_rss_bytes"]["workers"]) == 1
    assert record["tile_retries"] == 0
    assert {"tilefarm", "python", "torch", "ray"} <= record["versions"].keys()
    levels = record["levels"]
    assert [(level["width"], level["height"]) for level in levels] == [(50, 38), (100, 75), (200, 150)]
    # half a tile of padding on every side, tiles of 64 at every 32: ceil(length / 32) + 1 along an axis
    assert [level["tiles"] for level in levels] == [1, 5 * 4, 8 * 6]
    assert [level["iterations"] for level in levels] == [300, 30, 30]
    for level in levels:
        assert 1 < level["loss_last"] < level["loss_first"]
        assert level["seconds"] >= 0
    assert rendered.solved == 1 + 2 * 20 + 2 * 48


def test_what_is_told_meanwhile(make_job: MakeJob) -> None:
    events = submit(make_job(grain(100, 75))).events
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert not events[0].resumed
    # the whole level has a border of 16 pixels; tiles, two rounds of 30 steps
    assert events[0].work == ((50 + 32) * (38 + 32) * 300, 20 * 64 * 64 * 2 * 30)
    tiles = [(event.level, event.round, event.tile) for event in events if isinstance(event, TileFinished)]
    assert tiles == [(0, 0, 0), *((1, number, tile) for number in (0, 1) for tile in range(20))]
    measured = [
        (event.level, event.done, event.total) for event in events if isinstance(event, PiecesProgress)
    ]
    # the picture and its style: 50x38 and 50x33 in one piece each, then 100x75 and 100x67 in 2 each, since
    # what is left below the 64th row is less than one position of the deepest layer; then the picture
    # itself, before each round
    assert measured == [
        (0, 1, 2),
        (0, 2, 2),
        *((1, done, 4) for done in range(1, 5)),
        *2 * [(1, 1, 2), (1, 2, 2)],
    ]


# ---- submitting again ---------------------------------------------------------------------------------


def test_submitting_a_finished_job_opens_no_executor(make_job: MakeJob) -> None:
    job_file = make_job(grain(100, 75))
    first = submit(job_file)
    assert not first.outcome.already_done
    before = first.outcome.output.read_bytes()
    journal = first.run.journal.read_bytes()
    job = load_job(job_file)
    events: list[Event] = []
    again = render(job, run_folder(job, job_file.parent / "runs"), LOCAL, events.append, no_executor)
    assert again.already_done
    assert again.run == first.run
    assert events == []
    assert again.output.read_bytes() == before
    assert first.run.journal.read_bytes() == journal


@pytest.mark.parametrize(
    ("override", "bits", "dpi"),
    [
        ("output.path=elsewhere/b.tif", 16, 300),
        ("output.path=b.png", 8, 300),
        ("output.dpi=72", 16, 72),
        ("output.bit_depth=8", 8, 300),
        ("output={path: golden.tif, bit_depth: 8, dither: false}", 8, 300),
        ("output.compression=lzw", 16, 300),
        ("output.compression=none", 16, 300),
        ("output.tiled=false", 16, 300),
        ("output.pyramid=true", 16, 300),
        ("output={path: b.webp, lossless: true}", 8, 300),
    ],
)
def test_another_file_of_the_same_picture_is_only_written(
    make_job: MakeJob, override: str, bits: int, dpi: float
) -> None:
    job_file = make_job(grain(100, 75))
    first = submit(job_file)
    pixels = first.pixels
    job = load_job(job_file, [override])
    run = run_folder(job, job_file.parent / "runs")
    assert run == first.run
    assert not render(job, run, LOCAL, lambda event: None, no_executor).already_done
    check_output(job.output.path, Size(100, 75), job.form)
    assert (job.form.bit_depth, job.form.dpi) == (bits, dpi)
    found = pyvips.Image.new_from_file(str(job.output.path)).numpy()
    full = 2**bits - 1
    assert np.abs(found / full - pixels / 65535).max() <= (1.51 if job.form.dither else 0.51) / full
    assert json.loads(run.summary.read_text())["status"] == "done"
    assert render(job, run, LOCAL, lambda event: None, no_executor).already_done


def test_a_damaged_output_is_written_again(make_job: MakeJob) -> None:
    job_file = make_job(grain(100, 75))
    first = submit(job_file)
    good = first.outcome.output.read_bytes()
    first.outcome.output.write_bytes(good[: len(good) // 2])
    job = load_job(job_file)
    assert not render(job, first.run, LOCAL, lambda event: None, no_executor).already_done
    assert first.outcome.output.read_bytes() == good


def test_another_picture_in_the_outputs_place_is_not_overwritten(make_job: MakeJob) -> None:
    """Two jobs that write the same file: the first one is not done any more, and says so."""
    job_file = make_job(grain(100, 75))
    first = submit(job_file)
    variant = load_job(job_file, ["init=noise"])
    render(variant, run_folder(variant, job_file.parent / "runs"), LOCAL, lambda event: None, opener(Mixer()))
    before = first.outcome.output.read_bytes()
    with pytest.raises(JobError, match="is no longer what"):
        render(load_job(job_file), first.run, LOCAL, lambda event: None, no_executor)
    assert first.outcome.output.read_bytes() == before


def test_other_settings_are_another_run(make_job: MakeJob) -> None:
    job_file = make_job(grain(100, 75))
    first = submit(job_file)
    other = submit(job_file, 0.5, "seed=1")
    assert other.run != first.run
    assert other.solved == first.solved


# ---- what decides the picture -------------------------------------------------------------------------


def test_an_identity_at_every_shape(make_job: MakeJob) -> None:
    """Sizes that leave odd rests everywhere: tiles, halves, and a thin last column."""
    for width, height in ((97, 131), (129, 64), (65, 200), (64, 64)):
        rendered = submit(make_job(grain(width, height)), 1.0)
        expected = content_at(rendered.outcome.output.parent / "job.yaml", Size(width, height))
        assert np.abs(rendered.pixels / 65535 - expected).max() <= 0.51 / 65535


def test_several_styles_are_blended(make_job: MakeJob, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40, 3), 255, np.uint8)).save(tmp_path / "white.png")
    Image.fromarray(np.full((40, 60, 3), 51, np.uint8)).save(tmp_path / "grey.png")
    styles = "styles: [{image: white.png, weight: 3}, {image: grey.png, weight: 1, scale: 0.5}]\n"
    job_file = make_job(grain(64, 48), more=SMALL + styles)
    seen: list[float] = []

    class Watching(Mixer):
        def solve(self, settings, targets, batch):  # type: ignore[no-untyped-def]
            seen.extend(float(style.products[0, 0, 0]) for style in targets.styles.values())
            return super().solve(settings, targets, batch)

    job = load_job(job_file)
    run = run_folder(job, tmp_path / "runs")
    render(job, run, LOCAL, lambda event: None, opener(Watching()))
    # this worker's "Gram matrix" is the mean over pixels of the sum of a pixel's three values
    assert seen == pytest.approx([(3 * 3.0 + 1 * 0.6) / 4] * 5, rel=1e-6)


def test_noise_is_seeded(make_job: MakeJob) -> None:
    job_file = make_job(grain(100, 75), more=SMALL + "init: noise\n")
    first = submit(job_file)
    expected = first.pixels
    shutil.rmtree(first.run.root)
    assert np.array_equal(submit(job_file).pixels, expected)
    assert not np.array_equal(submit(job_file, 0.5, "seed=7").pixels, expected)
    assert not np.array_equal(submit(job_file, 0.5, "init=content").pixels, expected)


@pytest.mark.parametrize(
    ("width", "height", "style"),
    [(1, 1, 1), (1, 1, 8), (1, 4000, 8), (4000, 1, 1), (2, 3, 8), (31, 33, 1), (700, 20, 8)],
)
def test_the_thinnest_pictures(make_job: MakeJob, width: int, height: int, style: int) -> None:
    more = "method: feathered\npyramid: {smallest: 64}\ntiles: {size: 128, rounds: 1}\n"
    job_file = make_job(grain(width, height), grain(style, style), more=more)
    rendered = submit(job_file, 1.0)
    expected = content_at(job_file, Size(width, height))
    assert rendered.pixels.shape == (height, width, 3)
    assert np.abs(rendered.pixels / 65535 - expected).max() <= 0.51 / 65535


@pytest.mark.parametrize("method", ["exact", "feathered"])
@pytest.mark.parametrize(("width", "height", "style"), [(1, 1, 1), (100, 1, 8), (3, 80, 1)])
def test_the_thinnest_pictures_with_real_features(
    make_job: MakeJob, width: int, height: int, style: int, method: str
) -> None:
    from tilefarm.execute.worker import TileWorker

    def real(weights: Weights, most: int) -> Executor:
        return opener(TileWorker(weights, "cpu", 1))(weights, most)

    more = (
        "pyramid: {smallest: 64, iterations: [2]}\ntiles: {size: 64, rounds: 1, iterations: 2}\n"
        f"compute: {{precision: float32, device: cpu}}\nmethod: {method}\n"
    )
    job_file = make_job(grain(width, height), grain(style, style, 1), more=more)
    job = load_job(job_file)
    run = run_folder(job, job_file.parent / "runs")
    outcome = render(job, run, LOCAL, lambda event: None, real)
    assert tifffile.imread(outcome.output).shape == (height, width, 3)
    record = json.loads(run.summary.read_text())
    assert record["status"] == "done"
    for level in record["levels"]:
        assert np.isfinite([level["loss_first"], level["loss_last"]]).all()


# ---- what goes wrong ----------------------------------------------------------------------------------


def test_the_executor_is_closed_whatever_happens(make_job: MakeJob) -> None:
    from tilefarm.execute.local import LocalExecutor

    closed: list[bool] = []

    class Closing(LocalExecutor):
        def close(self) -> None:
            closed.append(True)

    class Broken(Mixer):
        def solve(self, settings, targets, batch):  # type: ignore[no-untyped-def]
            raise ValueError("a fault of ours")

    job = load_job(make_job(grain(64, 48)))
    run = run_folder(job, job.content.parent / "runs")
    with pytest.raises(ValueError, match="a fault of ours"):
        render(job, run, LOCAL, lambda event: None, lambda weights, most: Closing(Broken()))
    assert closed == [True]
    record = json.loads(run.summary.read_text())
    assert (record["status"], record["message"]) == ("failed", "ValueError: a fault of ours")


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("a.jpg", ["quality: 80", "quality: 60", "profile: display-p3", "dither: false"]),
        ("a.webp", ["quality: 80", "lossless: true"]),
        (
            "a.tif",
            ["compression: lzw", "tiled: false", "profile: own.icc", "profile: adobe-rgb"],
        ),
    ],
)
def test_every_key_of_the_file_asks_for_another_one(make_job: MakeJob, path: str, keys: list[str]) -> None:
    """And without it the first file comes again, the same to a byte."""
    job_file = make_job(grain(60, 45))
    (job_file.parent / "own.icc").write_bytes(load_profile("display-p3").data)

    def written(output: str) -> tuple[bytes, bool]:
        job = load_job(job_file, [f"output={{path: {path}{output}}}"])
        outcome = render(job, run, LOCAL, lambda event: None, no_executor)
        return job.output.path.read_bytes(), outcome.already_done

    run = submit(job_file).run
    plain, _ = written("")
    for key in keys:
        found, done = written(f", {key}")
        assert found != plain
        assert not done
        assert written(f", {key}") == (found, True)
        assert written("") == (plain, False)
    if path == "a.tif":
        first, _ = written(", profile: own.icc")
        (job_file.parent / "own.icc").write_bytes(load_profile("adobe-rgb").data)
        second, done = written(", profile: own.icc")
        assert second != first
        assert not done


def test_a_file_of_a_version_that_recorded_less_is_done(make_job: MakeJob) -> None:
    """Its line has none of the later keys: deflate, in tiles, sRGB, not dithered."""
    job_file = make_job(grain(60, 45))
    first = submit(job_file)
    lines = first.run.journal.read_text().splitlines()
    record = json.loads(opened_json(lines[-1].encode())[0])
    later = {"profile", "intent", "compression", "tiled", "pyramid", "quality", "lossless", "dither"}
    assert later <= record.keys()
    lines[-1] = sealed_json(json.dumps({key: record[key] for key in record if key not in later}))
    first.run.journal.write_text("\n".join(lines) + "\n")
    assert render(load_job(job_file), first.run, LOCAL, lambda event: None, no_executor).already_done
    job = load_job(job_file, ["output.compression=lzw"])
    assert not render(job, first.run, LOCAL, lambda event: None, no_executor).already_done
