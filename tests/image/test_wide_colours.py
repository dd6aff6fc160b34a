"""`color.working_space: wide`: colours that sRGB lacks survive from a photograph to a print."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.delivered import write_job
from tests.standins import Mixer, opener
from tilefarm.driver import render
from tilefarm.errors import JobError
from tilefarm.execute.open import ExecutorChoice
from tilefarm.geometry import Box, Size
from tilefarm.image.colour import WHITE_D50
from tilefarm.image.decode import inspect
from tilefarm.image.engine import raw_image
from tilefarm.image.profiles import load_profile
from tilefarm.image.proof import load_press, share_out_of_gamut, write_proof
from tilefarm.image.resize import write_content
from tilefarm.image.window import open_raw
from tilefarm.output.write import write_output
from tilefarm.prepare import prepare
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.file_form import FileForm
from tilefarm.spec.fingerprint import fingerprint
from tilefarm.spec.load import load_job
from tilefarm.spec.profile_names import ProfileName

SIZE = Size(64, 64)
GREEN = (0, 255, 0)


def all_colours() -> NDArray[np.uint8]:
    """Every combination of 16 values."""
    steps = np.linspace(0, 255, 16).round().astype(np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(SIZE.height, SIZE.width, 3)


def save_as(profile: str, path: Path, numbers: NDArray[np.uint8]) -> Path:
    Image.fromarray(numbers).save(path, icc_profile=load_profile(profile).data)
    return path


def raw_of(path: Path, target: Path, *, wide: bool) -> Path:
    info = inspect(path, "content")
    write_content(info.widened() if wide else info, Box.of(info.size), info.size, target)
    return target


def written(canvas: Path, profile: str, target: Path, *, wide: bool = True) -> NDArray[np.int64]:
    write_output(canvas, SIZE, target, FileForm("png", 8, 72, profile, wide=wide))
    with Image.open(target) as picture:
        assert picture.info["icc_profile"] == load_profile(profile).data
        return np.asarray(picture).astype(np.int64)


@pytest.mark.parametrize("profile", ["display-p3", "adobe-rgb"])
def test_a_photograph_comes_back_in_its_own_space(tmp_path: Path, profile: ProfileName) -> None:
    photo = save_as(profile, tmp_path / "photo.png", all_colours())
    canvas = raw_of(photo, tmp_path / "canvas.f32", wide=True)
    assert open_raw(canvas, SIZE).min() < -0.1
    found = written(canvas, profile, tmp_path / "out.png")
    assert np.abs(found - all_colours()).max() <= 1


@pytest.mark.parametrize("profile", ["display-p3", "adobe-rgb"])
def test_without_it_they_become_the_most_saturated_of_srgb(tmp_path: Path, profile: ProfileName) -> None:
    photo = save_as(profile, tmp_path / "photo.png", all_colours())
    canvas = raw_of(photo, tmp_path / "canvas.f32", wide=False)
    assert open_raw(canvas, SIZE).min() == 0
    assert open_raw(canvas, SIZE).max() <= 1
    found = written(canvas, profile, tmp_path / "out.png", wide=False)
    assert np.abs(found - all_colours()).max() > 50


def test_colours_of_both_spaces_go_over_as_littlecms_has_it(tmp_path: Path) -> None:
    photo = save_as("display-p3", tmp_path / "photo.png", all_colours())
    canvas = raw_of(photo, tmp_path / "canvas.f32", wide=True)
    found = written(canvas, "adobe-rgb", tmp_path / "out.png")
    before, after = (
        ImageCms.ImageCmsProfile(io.BytesIO(load_profile(name).data)) for name in ("display-p3", "adobe-rgb")
    )
    over = ImageCms.buildTransform(before, after, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    shown = ImageCms.applyTransform(Image.fromarray(all_colours()), over)
    assert shown is not None
    wanted = np.asarray(shown).astype(np.int64)
    assert np.abs(found - wanted).mean() < 0.1
    assert np.abs(found - wanted).max() <= 2  # with 8 bits LittleCMS rounds on the way


def test_a_profile_of_tables_goes_through_cielab(tmp_path: Path) -> None:
    """CMYK's cyan is beyond sRGB: red is negative, and exactly what its CIELab says."""
    inks = pyvips.Image.black(8, 8, bands=4).linear([1, 1, 1, 1], [255, 0, 0, 0]).cast("uchar")
    inks = inks.copy(interpretation="cmyk")
    inks.tiffsave(str(tmp_path / "cyan.tif"))
    wide = np.array(open_raw(raw_of(tmp_path / "cyan.tif", tmp_path / "wide.f32", wide=True), Size(8, 8)))
    lab = inks.icc_import(embedded=True, intent="relative", black_point_compensation=True, pcs="lab")
    light = np.array(lab.Lab2XYZ(temp=[100 * value for value in WHITE_D50])(0, 0)) / 100
    srgb = np.array(
        [
            [0.4360747, 0.3850649, 0.1430804],
            [0.2225045, 0.7168786, 0.0606169],
            [0.0139322, 0.0971045, 0.7141733],
        ]
    )  # Lindbloom, "RGB/XYZ Matrices", sRGB of white D50
    linear = np.linalg.solve(srgb, light)
    encoded = np.sign(linear) * np.where(
        np.abs(linear) <= 0.0031308, 12.92 * np.abs(linear), 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    )
    assert encoded[0] < -0.1
    assert wide[0, 0] == pytest.approx(encoded, abs=0.02)
    clipped = np.array(open_raw(raw_of(tmp_path / "cyan.tif", tmp_path / "c.f32", wide=False), Size(8, 8)))
    assert clipped[0, 0, 0] == 0


def test_srgb_pictures_are_the_same_in_both(tmp_path: Path) -> None:
    photo = save_as("srgb", tmp_path / "photo.png", all_colours())
    plain = raw_of(photo, tmp_path / "plain.f32", wide=False).read_bytes()
    assert raw_of(photo, tmp_path / "wide.f32", wide=True).read_bytes() == plain


def test_a_proof_counts_the_colours_that_only_the_press_has(tmp_path: Path) -> None:
    """Adobe RGB's cyan is printable, sRGB's most saturated one is as well; Adobe RGB's green is not."""
    press = tmp_path / "press.icc"
    press.write_bytes(bytes(pyvips.Operation.call("profile_load", "cmyk")))
    photo = save_as("adobe-rgb", tmp_path / "photo.png", np.full((64, 64, 3), GREEN, np.uint8))
    canvas = raw_of(photo, tmp_path / "canvas.f32", wide=True)
    with raw_image(canvas, SIZE) as image:
        assert share_out_of_gamut(image, load_press(press)) == 1
    found = write_proof(canvas, SIZE, tmp_path / "proof.png", load_press(press), "relative", False, wide=True)
    assert found.out_of_gamut == 1


def job_with(folder: Path, more: str) -> Path:
    return write_job(folder, "path: out.png, profile: display-p3, dither: false", more)


def test_it_decides_the_run_only_where_it_is_asked_for(tmp_path: Path) -> None:
    plain, named, wide = (
        fingerprint(load_job(job_with(tmp_path, more)))
        for more in ("", "color: {working_space: srgb}\n", "color: {working_space: wide}\n")
    )
    assert plain == named != wide


def test_the_plan_says_what_is_lost_and_no_more(tmp_path: Path) -> None:
    job_with(tmp_path, "")
    save_as("display-p3", tmp_path / "photo.png", np.full((90, 120, 3), GREEN, np.uint8))

    def notes(output: str, more: str) -> str:
        return " ".join(prepare(load_job(write_only(tmp_path, output, more))).notes)

    assert "sRGB lacks; they become" in notes("path: out.png, profile: display-p3", "")
    assert "sRGB" not in notes("path: out.png, profile: display-p3", "color: {working_space: wide}\n")
    assert "drops them from the file" in notes("path: out.png", "color: {working_space: wide}\n")


def write_only(folder: Path, output: str, more: str) -> Path:
    """The job file again, with the pictures that are there."""
    photo = (folder / "photo.png").read_bytes()
    path = write_job(folder, output, more)
    (folder / "photo.png").write_bytes(photo)
    return path


@pytest.mark.parametrize("mode", ["content_luma", "histogram_rgb", "luminance"])
def test_modes_that_know_srgb_alone_are_refused(tmp_path: Path, mode: str) -> None:
    path = job_with(tmp_path, f"color: {{mode: {mode}, working_space: wide}}\n")
    with pytest.raises(JobError, match=f"color.working_space must be srgb for color.mode {mode}"):
        load_job(path)


def test_a_run_carries_them_from_the_photograph_to_the_file(
    tmp_path: Path,
) -> None:
    """The stand-in paints the content in other tones: what it paints is beyond sRGB where the content is."""
    job_with(tmp_path, "")
    save_as("display-p3", tmp_path / "photo.png", np.full((90, 120, 3), GREEN, np.uint8))
    reds = []
    for space in ("wide", "srgb"):
        path = write_only(
            tmp_path, "path: out.png, profile: display-p3", f"color: {{working_space: {space}}}\n"
        )
        job = load_job(path)
        render(job, RunDir(tmp_path / space), ExecutorChoice("local"), lambda event: None, opener(Mixer(1.0)))
        with Image.open(tmp_path / "out.png") as picture:
            reds.append(float(np.asarray(picture)[..., 0].mean()))
        (tmp_path / "out.png").unlink()
    assert reds[0] < 30 < 100 < reds[1]
