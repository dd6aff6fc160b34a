"""Transparency: flattened on a stated background, or kept in the output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.standins import Mixer, opener
from tilefarm.driver import Outcome, render, run_folder
from tilefarm.errors import JobError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.image.engine import save_raw
from tilefarm.plan.estimate import disk_bytes, output_bytes
from tilefarm.prepare import prepare
from tilefarm.spec.alpha import Alpha
from tilefarm.spec.load import load_job

WIDTH, HEIGHT = 96, 60
METHODS = {
    "feathered": "method: feathered\npyramid: {smallest: 64}\ntiles: {size: 64, rounds: 1}\n",
    "exact": "pyramid: {smallest: 64}\n",
}


def colours() -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH, 3), (200, 40, 90), np.uint8)


def clear() -> NDArray[np.uint8]:
    """Solid at the left, clear at the right, slowly from one to the other; the bottom row is solid."""
    ramp = np.rint(np.linspace(255, 0, WIDTH)).astype(np.uint8)
    alpha = np.repeat(ramp[np.newaxis], HEIGHT, axis=0)
    alpha[-1] = 255
    return alpha


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    Image.fromarray(np.dstack([colours(), clear()])).save(tmp_path / "content.png")
    Image.fromarray(colours()[..., ::-1].copy()).save(tmp_path / "style.png")
    path = tmp_path / "job.yaml"
    path.write_text("content: content.png\nstyle: style.png\noutput: {path: out.tif}\n")
    return path


def submit(job_file: Path, *overrides: str) -> Outcome:
    """With a worker that paints the content itself, so that what it was given is seen."""
    job = load_job(job_file, overrides)
    run = run_folder(job, job_file.parent / "runs")
    return render(job, run, ExecutorChoice("local"), lambda event: None, opener(Mixer(1.0)))


def written(job_file: Path, method: str, *overrides: str) -> NDArray[np.uint16]:
    job_file.write_text(job_file.read_text() + METHODS[method])
    pixels: NDArray[np.uint16] = tifffile.imread(submit(job_file, *overrides).output)
    return pixels


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("background", "shown"), [("white", 1.0), ("black", 0.0), ("'#336699'", (0.2, 0.4, 0.6))]
)
def test_flattened_on_the_background(
    job_file: Path, method: str, background: str, shown: float | tuple[float, ...]
) -> None:
    pixels = written(job_file, method, f"alpha.background={background}")
    share = clear()[..., np.newaxis] / 255
    np.testing.assert_allclose(pixels / 65535, colours() / 255 * share + (1 - share) * shown, atol=2e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "bits"), [("o.tif", 8), ("o.tif", 16), ("o.png", 8)])
def test_kept_in_the_output(job_file: Path, method: str, name: str, bits: int) -> None:
    overrides = ["alpha=keep", f"output={{path: {name}, bit_depth: {bits}}}"]
    job_file.write_text(job_file.read_text() + METHODS[method])
    output = submit(job_file, *overrides).output
    pixels = tifffile.imread(output) if name == "o.tif" else np.asarray(Image.open(output))
    assert pixels.shape == (HEIGHT, WIDTH, 4)
    assert pixels.dtype == f"uint{bits}"
    white = 2**bits - 1
    np.testing.assert_allclose(pixels[..., 3] / white, clear() / 255, atol=0.6 / white)
    if name == "o.tif":
        with tifffile.TiffFile(output) as file:
            assert file.pages.first.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)


def test_kept_at_another_size_and_of_the_part_that_is_shown(job_file: Path) -> None:
    """A square print of twice the height shows the middle: its corners are those of that part."""
    pixels = written(
        job_file, "exact", "alpha=keep", "output={path: o.tif, print: {width: 1in, height: 1in, dpi: 120}}"
    )
    assert pixels.shape == (120, 120, 4)
    ramp = np.interp((np.arange(120) + 0.5) / 2 - 0.5 + 18, np.arange(WIDTH), np.linspace(1, 0, WIDTH))
    np.testing.assert_allclose(pixels[60, :, 3] / 65535, ramp, atol=0.01)
    assert pixels[-1, -1, 3] > 60_000


def test_a_finished_picture_gets_it_without_work(job_file: Path) -> None:
    first = submit(job_file)
    second = submit(job_file, "alpha=keep")
    assert second.run == first.run
    assert not second.already_done
    assert tifffile.imread(second.output).shape[2] == 4
    assert submit(job_file, "alpha=keep").already_done
    submit(job_file)
    assert tifffile.imread(first.output).shape[2] == 3


def test_it_stays_within_the_disk_that_was_asked_for(job_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that takes room: turned by EXIF, enlarged, and with other colours afterwards."""
    image, exif = Image.open(job_file.parent / "content.png"), Image.Exif()
    exif[0x0112] = 6
    image.save(job_file.parent / "content.png", exif=exif)
    overrides = ["alpha=keep", "output.width=200", "color={mode: statistics, when: after}"]
    job_file.write_text(job_file.read_text() + METHODS["feathered"])
    job = load_job(job_file, overrides)
    run = run_folder(job, job_file.parent / "runs")
    sizes: dict[str, int] = {}

    def measuring(image: Any, path: Path) -> None:
        save_raw(image, path)
        files = [file for file in run.root.rglob("*") if file.is_file()]
        step = ".alpha" if any(".alpha." in str(file) for file in files) else "before"
        sizes[step] = max(sizes.get(step, 0), sum(file.stat().st_size for file in files))

    monkeypatch.setattr("tilefarm.image.resize.save_raw", measuring)
    assert tifffile.imread(submit(job_file, *overrides).output).shape == (320, 200, 4)
    prepared = prepare(job)
    output = output_bytes(prepared.plan.output, job.form, alpha=True)
    assert 0.2 * disk_bytes(job, prepared.plan) < sizes[".alpha"]
    assert sizes[".alpha"] <= disk_bytes(job, prepared.plan) - output


def test_notes_say_what_becomes_of_it(job_file: Path) -> None:
    kept, flat = (prepare(load_job(job_file, [f"alpha={mode}"])).notes for mode in ("keep", "flatten"))
    assert kept == ("content: is painted as it looks on white; its alpha is kept",)
    assert flat == ("content: alpha is flattened on white",)


def test_a_content_without_any_has_nothing_to_keep(job_file: Path) -> None:
    Image.fromarray(colours()).save(job_file.parent / "content.png")
    outcome = submit(job_file, "alpha=keep")
    assert tifffile.imread(outcome.output).shape[2] == 3


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("alpha.background=pink", "alpha.background must be white, black or a colour such as '#c0ffee'"),
        ("alpha.background=123456", "must be white, black or a colour"),
        ("alpha=drop", "alpha.mode must be flatten or keep, got 'drop'"),
        ("alpha={ground: white}", "ground"),
    ],
)
def test_mistakes(job_file: Path, override: str, sentence: str) -> None:
    with pytest.raises(JobError) as caught:
        load_job(job_file, [override])
    (problem,) = caught.value.problems
    assert sentence in problem


@pytest.mark.parametrize("override", ["alpha=keep", "alpha={mode: keep, background: black}"])
def test_jpeg_has_none(job_file: Path, override: str) -> None:
    with pytest.raises(JobError, match="must be flatten for JPEG") as caught:
        load_job(job_file, [override, "output.path=o.jpg"])
    assert len(caught.value.problems) == 1


def test_colours_in_one_form() -> None:
    assert Alpha(background="#FFFFFF") == Alpha(background="White") == Alpha()
    assert Alpha(background="#ff8000").rgb == (1.0, 128 / 255, 0.0)
    assert Alpha(background="black").rgb == (0.0, 0.0, 0.0)
