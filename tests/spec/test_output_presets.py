"""`output.preset`: what it fills, what it leaves to the job, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tilefarm.errors import JobError
from tilefarm.spec.load import load_job
from tilefarm.spec.model import Output
from tilefarm.spec.output_presets import OUTPUT_PRESETS

ENDINGS = {"tiff": ".tif", "png": ".png", "jpeg": ".jpg", "webp": ".webp"}
PAIRS = [(name, ENDINGS[format]) for name, preset in OUTPUT_PRESETS.items() for format in preset.formats]


def output(**keys: Any) -> Output:
    return Output.model_validate(keys)


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("lab-srgb", "a.tif", ("srgb", 8, 300, "lzw", False, None, None)),
        ("lab-srgb", "a.jpg", ("srgb", 8, 300, None, None, 98, None)),
        ("lab-adobe", "a.tif", ("adobe-rgb", 8, 300, "lzw", False, None, None)),
        ("poster", "a.tif", ("srgb", 8, 200, "lzw", False, None, None)),
        ("web", "a.jpg", ("srgb", 8, 72, None, None, 88, 2048)),
        ("web", "a.webp", ("srgb", 8, 72, None, None, 85, 2048)),
        ("web", "a.png", ("srgb", 8, 72, None, None, None, 2048)),
        ("archive", "a.tif", ("srgb", 16, 300, "deflate", True, None, None)),
    ],
)
def test_what_a_preset_sets(name: str, path: str, expected: tuple[Any, ...]) -> None:
    made = output(path=path, preset=name)
    keys = ("profile", "bit_depth", "dpi", "compression", "tiled", "quality", "long_side")
    assert tuple(getattr(made, key) for key in keys) == expected
    assert made.form(0).bit_depth == expected[1]


@pytest.mark.parametrize(("name", "ending"), PAIRS)
@pytest.mark.parametrize(
    "own",
    [
        {"bit_depth": 8, "dpi": 120.0},
        {"profile": "display-p3"},
        {"width": 500},
        {"height": 500},
        {"long_side": 500},
        {"print": {"width": "4cm", "height": "3cm", "dpi": 150}},
        {"provenance": False},
    ],
)
def test_what_the_job_says_comes_first(name: str, ending: str, own: dict[str, Any]) -> None:
    made = output(path=f"a{ending}", preset=name, **own)
    for key, value in own.items():
        if key != "print":
            assert getattr(made, key) == value
    if own.keys() & {"width", "height", "print"}:
        assert made.long_side is None
    if "print" in own:
        assert made.dpi == 150


@given(
    st.sampled_from(PAIRS),
    st.fixed_dictionaries(
        {},
        optional={
            "bit_depth": st.sampled_from([8, 16]),
            "dither": st.booleans(),
            "pyramid": st.booleans(),
            "tiled": st.booleans(),
            "compression": st.sampled_from(["deflate", "lzw", "zstd", "none"]),
            "lossless": st.booleans(),
            "quality": st.integers(1, 100),
            "intent": st.sampled_from(["relative", "perceptual"]),
            "profile": st.sampled_from(["srgb", "display-p3", "adobe-rgb"]),
        },
    ),
)
def test_a_preset_makes_no_job_wrong_that_is_right_without_it(
    pair: tuple[str, str], own: dict[str, Any]
) -> None:
    name, ending = pair
    try:
        output(path=f"a{ending}", **own).form(0)
    except ValidationError:
        return
    made = output(path=f"a{ending}", preset=name, **own)
    made.form(0)
    assert {key: getattr(made, key) for key in own} == own
    assert Output.model_validate(made.model_dump(mode="json")) == made, "a resolved job is read back"


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("web", "a.tif", ("web is for JPEG and WebP and PNG, and output.path is a TIFF", ".jpg")),
        ("archive", "a.jpg", ("archive is for TIFF, and output.path is a JPEG", ".tif")),
        ("lab-srgb", "a.png", ("lab-srgb is for TIFF and JPEG", "choose another preset")),
    ],
)
def test_another_format_is_refused(name: str, path: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as told:
        output(path=path, preset=name)
    [error] = told.value.errors()
    assert error["loc"] == ("preset",)
    assert all(word in error["msg"] for word in words)


def test_a_job_with_transparency_goes_to_no_lab(tmp_path: Path) -> None:
    for name in ("content.png", "style.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "job.yaml").write_text(
        "content: content.png\nstyle: style.png\nalpha: keep\noutput: {path: a.tif, preset: poster}\n"
    )
    with pytest.raises(JobError) as told:
        load_job(tmp_path / "job.yaml")
    assert told.value.problems == (
        f"{tmp_path / 'job.yaml'}, line 4: output.preset poster is for files without transparency, and "
        "alpha.mode is keep; leave one of them out",
    )
    assert load_job(tmp_path / "job.yaml", ["output.preset=archive"]).output.bit_depth == 16


def test_a_wrong_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    for name in ("content.png", "style.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "job.yaml").write_text(
        "content: content.png\nstyle: style.png\noutput: {path: a.tif, preset: lab-rgb}\n"
    )
    with pytest.raises(JobError, match=r"line 3: output\.preset must be .*did you mean 'lab-srgb'"):
        load_job(tmp_path / "job.yaml")
