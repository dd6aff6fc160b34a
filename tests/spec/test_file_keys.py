"""The keys of the output that say what kind of file it becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tilefarm.errors import JobError
from tilefarm.spec.file_form import FileForm
from tilefarm.spec.files import input_files
from tilefarm.spec.fingerprint import fingerprint
from tilefarm.spec.load import load_job
from tilefarm.spec.output import Output
from tilefarm.spec.resolved import to_yaml

HEAD = "content: a.jpg\nstyle: a.jpg\nseed: 7\n"


def form(**keys: Any) -> FileForm:
    return Output.model_validate(keys).form(7)


def problems(**keys: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Output.model_validate(keys)
    return {".".join(map(str, error["loc"])): error["msg"] for error in caught.value.errors()}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.tif", FileForm("tiff", 16, 300, seed=7)),
        ("a.png", FileForm("png", 8, 300, dither=True, seed=7)),
        ("a.JPG", FileForm("jpeg", 8, 300, dither=True, seed=7)),
        ("a.webp", FileForm("webp", 8, 300, dither=True, seed=7)),
    ],
)
def test_defaults(path: str, expected: FileForm) -> None:
    assert form(path=path) == expected


def test_everything_given() -> None:
    keys = {"compression": "lzw", "tiled": False, "bit_depth": 8, "dither": False, "dpi": 150}
    assert form(path="a.tif", **keys) == FileForm("tiff", 8, 150, compression="lzw", tiled=False, seed=7)
    keys = {"profile": "adobe-rgb", "intent": "perceptual", "pyramid": True}
    wide = FileForm("tiff", 16, 300, "adobe-rgb", "perceptual", pyramid=True, seed=7)
    assert form(path="a.tif", **keys) == wide
    assert form(path="a.webp", lossless=True).lossless
    assert form(path="a.webp", quality=1).quality == 1


@pytest.mark.parametrize(
    ("path", "key", "value", "told"),
    [
        ("a.png", "compression", "lzw", "is for TIFF, and output.path is a PNG"),
        ("a.png", "compression", "deflate", "is for TIFF, and output.path is a PNG"),
        ("a.jpg", "tiled", False, "is for TIFF, and output.path is a JPEG"),
        ("a.webp", "pyramid", True, "is for TIFF, and output.path is a WebP"),
        ("a.tif", "quality", 90, "is for JPEG and WebP, and output.path is a TIFF"),
        ("a.png", "quality", 90, "is for JPEG and WebP, and output.path is a PNG"),
        ("a.jpg", "lossless", True, "is for WebP, and output.path is a JPEG"),
        ("a.tif", "dither", True, "changes nothing with 16 bits"),
        ("a.tif", "intent", "absolute", "changes nothing with output.profile: srgb"),
        ("a.webp", "bit_depth", 16, "must be 8 for WebP, got 16"),
        ("a.jpg", "quality", 101, "less than or equal to 100"),
        ("a.jpg", "quality", 0, "greater than or equal to 1"),
        ("a.tif", "compression", "jpeg", "'deflate', 'lzw', 'zstd' or 'none'"),
        ("a.tif", "profile", 7, "must be srgb, display-p3, adobe-rgb or the path"),
        ("a.tif", "tiled", "yes", "valid boolean"),
    ],
)
def test_what_has_no_effect_or_no_meaning_is_refused(path: str, key: str, value: object, told: str) -> None:
    found = problems(path=path, **{key: value})
    assert list(found) == [key]
    assert told in found[key]


@pytest.mark.parametrize(
    ("keys", "blamed", "told"),
    [
        ({"path": "a.tif", "pyramid": True, "tiled": False}, "pyramid", "needs tiles"),
        ({"path": "a.tif", "tiled": False, "compression": "zstd"}, "tiled", "cannot be false with zstd"),
        (
            {"path": "a.tif", "pyramid": True, "compression": "zstd"},
            "pyramid",
            "cannot be compressed with zstd",
        ),
        (
            {"path": "a.webp", "lossless": True, "quality": 80},
            "quality",
            "changes nothing with output.lossless",
        ),
    ],
)
def test_keys_that_exclude_each_other(keys: dict[str, Any], blamed: str, told: str) -> None:
    found = problems(**keys)
    assert list(found) == [blamed]
    assert told in found[blamed]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "paper.icc"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def job_file(folder: Path, output: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(f"{HEAD}output: {{{output}}}\n")
    return path


def test_a_profile_is_a_name_or_a_file(folder: Path) -> None:
    job = load_job(job_file(folder, "path: c.tif, profile: paper.icc, intent: perceptual"))
    assert job.output.profile == folder / "paper.icc"
    assert job.form.profile == str(folder / "paper.icc")
    assert ("output.profile", folder / "paper.icc") in list(input_files(job))
    with pytest.raises(JobError, match="did you mean 'adobe-rgb'"):
        load_job(job_file(folder, "path: c.tif, profile: adobe-rbg"))
    with pytest.raises(JobError, match="did you mean 'srgb'"):
        load_job(job_file(folder, "path: c.tif, profile: sRGB"))
    with pytest.raises(JobError, match=r"output\.profile names a file that does not exist"):
        load_job(job_file(folder, "path: c.tif, profile: other.icc"))


@pytest.mark.parametrize(
    "output",
    [
        "path: c.tif, profile: paper.icc, intent: saturation, compression: none, tiled: false",
        "path: c.webp, lossless: true",
        "path: c.webp, quality: 60",
        "path: c.jpg, dither: false, profile: display-p3",
        "path: c.tif, bit_depth: 8",
        "path: c.tif, bit_depth: 8, dither: true, pyramid: true",
    ],
)
def test_a_job_written_out_is_the_same_job_and_the_same_pixels(folder: Path, output: str) -> None:
    plain = load_job(job_file(folder, "path: c.tif"))
    job = load_job(job_file(folder, output))
    (folder / "whole.yaml").write_text(to_yaml(job))
    assert load_job(folder / "whole.yaml").form == job.form
    assert load_job(folder / "whole.yaml").output == job.output
    assert fingerprint(job) == fingerprint(plain)


@pytest.mark.parametrize(
    "form",
    [
        {"format": "webp", "bit_depth": 16},
        {"format": "tiff", "bit_depth": 16, "dither": True},
        {"format": "tiff", "bit_depth": 16, "pyramid": True, "tiled": False},
        {"format": "tiff", "bit_depth": 16, "pyramid": True, "compression": "zstd"},
        {"format": "tiff", "bit_depth": 16, "tiled": False, "compression": "zstd"},
    ],
)
def test_a_form_cannot_be_impossible(form: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"8 bits|tiles|zstd"):
        FileForm(dpi=300, **form)
