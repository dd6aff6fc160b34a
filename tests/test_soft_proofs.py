"""Soft proofs against LittleCMS' own, and beside the output of a run."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.standins import Mixer, opener
from tilefarm.driver import Outcome, render, run_folder
from tilefarm.errors import JobError
from tilefarm.events import Event, Noted
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Size
from tilefarm.image.profiles import load_profile
from tilefarm.image.proof import load_press, share_out_of_gamut, soft_proof, write_proof
from tilefarm.prepare import prepare
from tilefarm.spec.load import load_job
from tilefarm.spec.profile_names import Intent
from tilefarm.spec.proof import proof_path

PILLOWS = {"relative": ImageCms.Intent.RELATIVE_COLORIMETRIC, "perceptual": ImageCms.Intent.PERCEPTUAL}


@pytest.fixture
def press(tmp_path: Path) -> Path:
    """The CMYK profile that libvips brings."""
    path = tmp_path / "press.icc"
    path.write_bytes(bytes(pyvips.Operation.call("profile_load", "cmyk")))
    return path


def as_image(values: NDArray[np.floating]) -> pyvips.Image:
    height, width = values.shape[:2]
    return pyvips.Image.new_from_memory(
        np.ascontiguousarray(values, dtype=np.float32), width, height, 3, "float"
    )


def by_littlecms(numbers: NDArray[np.uint8], press: Path, intent: Intent, paper: bool) -> NDArray[np.float64]:
    srgb = ImageCms.ImageCmsProfile(io.BytesIO(load_profile("srgb").data))
    flags = ImageCms.Flags.SOFTPROOFING
    if intent == "relative":
        flags |= ImageCms.Flags.BLACKPOINTCOMPENSATION
    back = ImageCms.Intent.ABSOLUTE_COLORIMETRIC if paper else ImageCms.Intent.RELATIVE_COLORIMETRIC
    proofing = ImageCms.buildProofTransform(
        srgb, srgb, ImageCms.ImageCmsProfile(str(press)), "RGB", "RGB", PILLOWS[intent], back, flags
    )
    shown = ImageCms.applyTransform(Image.fromarray(numbers), proofing)
    assert shown is not None
    return np.asarray(shown) / 255


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("intent", ["relative", "perceptual"])
def test_it_is_what_littlecms_shows(press: Path, intent: Intent, paper: bool) -> None:
    numbers = np.random.default_rng(1).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    numbers[:2], numbers[2:4] = 255, 0
    found = soft_proof(as_image(numbers / 255), load_press(press), intent, paper).numpy()
    difference = np.abs(found - by_littlecms(numbers, press, intent, paper)) * 255
    assert difference.mean() < 0.6  # Pillow has 8 bits, and LittleCMS puts one table in the place of all
    assert np.quantile(difference, 0.99) < 3
    assert difference[:4].max() < 2
    assert np.abs(found - numbers / 255).mean() > 0.05


def test_paper_and_ink_are_seen(press: Path) -> None:
    """In ICC.1's terms: L* of the paper is that of its media white, which the profile states."""
    ends = as_image(np.array([[[1.0, 1, 1], [0, 0, 0]]]))
    plain = soft_proof(ends, load_press(press), "relative", False).numpy()[0]
    paper = soft_proof(ends, load_press(press), "relative", True).numpy()[0]
    np.testing.assert_allclose(plain[0], 1, atol=1e-3)
    assert 0.1 < plain[1].max() < 0.2  # ink is no black hole
    luminance = ((paper[0] + 0.055) / 1.055) ** 2.4 @ [0.2126, 0.7152, 0.0722]
    np.testing.assert_allclose(luminance, load_press(press).white[1], atol=0.01)


def test_what_a_press_cannot_print_is_counted(press: Path) -> None:
    grey = np.repeat(np.linspace(0, 1, 200).reshape(1, 200, 1), 3, axis=2)
    assert share_out_of_gamut(as_image(grey), load_press(press)) == 0
    neon = np.tile(np.array([[[0.0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1]]]), (1, 25, 1))
    assert share_out_of_gamut(as_image(neon), load_press(press)) == 1
    both = np.concatenate([grey[:, :100], neon], axis=1)
    assert share_out_of_gamut(as_image(both), load_press(press)) == pytest.approx(0.5)


def test_large_canvases_are_shown_small(press: Path, tmp_path: Path) -> None:
    canvas = np.linspace(-0.2, 1.2, 4200 * 60 * 3, dtype=np.float32).reshape(60, 4200, 3)
    canvas.tofile(tmp_path / "canvas.f32")
    profile = load_press(press)
    target = tmp_path / "shown.png"
    found = write_proof(tmp_path / "canvas.f32", Size(4200, 60), target, profile, "relative", True)
    with Image.open(target) as shown:
        assert shown.size == (2048, 29)
        assert shown.mode == "RGB"
        assert shown.info["dpi"] == pytest.approx((300 * 2048 / 4200,) * 2, rel=1e-3), "as large on paper"
        assert shown.info["icc_profile"] == load_profile("srgb").data
    assert found.out_of_gamut == 0
    assert found.sentence.startswith("nearly no part of the picture has colours")
    first = target.read_bytes()
    write_proof(tmp_path / "canvas.f32", Size(4200, 60), target, profile, "relative", True)
    assert target.read_bytes() == first


@pytest.fixture
def job_file(tmp_path: Path, press: Path) -> Path:
    for name, colour in (("content.png", (0, 255, 60)), ("style.png", (200, 40, 90))):
        Image.new("RGB", (96, 60), colour).save(tmp_path / name)
    path = tmp_path / "job.yaml"
    path.write_text(
        "content: content.png\nstyle: style.png\npyramid: {smallest: 64}\n"
        f"output: {{path: out.tif, proof: {press.name}}}\n"
    )
    return path


def submit(job_file: Path, *overrides: str) -> tuple[Outcome, list[Event]]:
    job = load_job(job_file, overrides)
    heard: list[Event] = []
    run = run_folder(job, job_file.parent / "runs")
    return render(job, run, ExecutorChoice("local"), heard.append, opener(Mixer(1.0))), heard


def test_a_run_writes_it_beside_the_output(job_file: Path) -> None:
    outcome, heard = submit(job_file)
    shown = job_file.parent / "out-proof.png"
    assert proof_path(outcome.output) == shown
    with Image.open(shown) as image:
        assert image.size == (96, 60)
        red, green, _ = np.asarray(image)[30, 48].astype(int)
    assert green < 240  # the press has no such green
    assert red > 60
    notes = [event.note for event in heard if isinstance(event, Noted)]
    assert any(note.startswith(f"{shown} shows the print: 100.0% of the picture") for note in notes)


def test_it_is_made_again_where_it_is_missing_or_another_is_asked_for(job_file: Path, press: Path) -> None:
    submit(job_file)
    shown = job_file.parent / "out-proof.png"
    first = shown.read_bytes()
    assert submit(job_file)[0].already_done
    shown.unlink()
    assert not submit(job_file)[0].already_done
    assert shown.read_bytes() == first
    paper = f"output.proof={{profile: {press.name}, paper_white: true}}"
    outcome = submit(job_file, paper)[0]
    assert not outcome.already_done
    assert shown.read_bytes() != first
    assert submit(job_file, paper)[0].already_done
    without = submit(job_file, "output.proof=null")[0]
    assert without.run == outcome.run  # the same canvas


def problems(job_file: Path, *overrides: str) -> list[str]:
    with pytest.raises(JobError) as caught:
        prepare(load_job(job_file, overrides))
    return list(caught.value.problems)


def test_what_is_no_press_is_refused_before_any_work(job_file: Path, tmp_path: Path) -> None:
    (tmp_path / "rgb.icc").write_bytes(load_profile("adobe-rgb").data)
    (problem,) = problems(job_file, "output.proof=rgb.icc")
    assert problem.startswith("output.proof.profile must be a profile for CMYK, but ")
    (problem,) = problems(job_file, "output.proof=style.png")
    assert problem.startswith("output.proof.profile must be an ICC profile, but ")
    (problem,) = problems(job_file, "output.proof=nowhere.icc")
    assert "output.proof.profile names a file that does not exist" in problem
    (tmp_path / "out-proof.png").write_text("my diary")
    (problem,) = problems(job_file)
    assert problem.startswith("output.proof: ")
    assert "is no picture, so it is not replaced" in problem


def test_it_replaces_no_input(job_file: Path, tmp_path: Path) -> None:
    (tmp_path / "content.png").rename(tmp_path / "out-proof.png")
    (problem,) = problems(job_file, "content=out-proof.png")
    assert "output.proof would overwrite content, " in problem


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("{intent: relative}", "output.proof.profile is missing; name the CMYK profile of the press"),
        ("{profile: press.icc, intent: photographic}", "output.proof.intent must be relative, perceptual, "),
        ("{profile: press.icc, paper: true}", "'output.proof.paper' is not a key of output.proof"),
        ("7", "output.proof must be a mapping with the keys profile, intent, paper_white, got 7"),
    ],
)
def test_other_values_are_refused(job_file: Path, value: str, sentence: str) -> None:
    (problem,) = problems(job_file, f"output.proof={value}")
    assert sentence in problem
