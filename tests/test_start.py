"""The picture that a run starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tilefarm.colour.moments import Moments
from tilefarm.colour.transfer import Raw
from tilefarm.errors import JobError
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import inspect
from tilefarm.image.resize import write_content
from tilefarm.prepare import prepare
from tilefarm.spec.load import load_job
from tilefarm.start import mix_noise, write_coloured_noise, write_noise, write_start

Start = Callable[..., NDArray[np.float64]]
SIZE = Size(112, 84)
FLAT = {"first.png": (200, 40, 90), "second.png": (20, 140, 30)}


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """The start of a job with these further lines, (84, 112, 3)."""
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (168, 224, 3), dtype=np.uint8)).save(tmp_path / "content.png")
    for name, colour in FLAT.items():
        Image.new("RGB", (30, 20), colour).save(tmp_path / name)
    path = tmp_path / "job.yaml"

    def make(more: str, styles: str = "style: first.png") -> NDArray[np.float64]:
        path.write_text(
            f"content: content.png\n{styles}\noutput: {{path: out.tif}}\npyramid: {{smallest: 112}}\n{more}\n"
        )
        prepared = prepare(load_job(path))
        assert prepared.plan.levels[0].size == SIZE
        content = tmp_path / "content.f32"
        write_content(prepared.content, prepared.plan.crop, SIZE, content)
        raws = []
        for number, style in enumerate(prepared.styles):
            raws.append(Raw(tmp_path / f"style-{number}.f32", style.size))
            write_content(style, Box.of(style.size), style.size, raws[-1].path)
        write_start(prepared, content, raws, tmp_path / "start.f32")
        return np.fromfile(tmp_path / "start.f32", dtype="<f4").reshape(84, 112, 3).astype(float)

    return make


def test_a_picture_is_cut_in_the_middle_and_resized(start: Start, tmp_path: Path) -> None:
    pixels = np.full((300, 900, 3), 255, dtype=np.uint8)  # white at both sides, which are cut off
    pixels[:, 250:650] = (10, 60, 110)
    Image.fromarray(pixels).save(tmp_path / "start.png")
    found = start("init: start.png")
    np.testing.assert_allclose(
        found, np.broadcast_to([10 / 255, 60 / 255, 110 / 255], found.shape), atol=1e-5
    )


def test_a_file_that_is_called_like_a_word_needs_its_folder(start: Start, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (51, 102, 153)).save(tmp_path / "noise", format="PNG")
    np.testing.assert_allclose(start("init: ./noise")[0, 0], [0.2, 0.4, 0.6], atol=1e-6)
    assert start("init: noise").std() > 0.1


def test_the_start_that_was_always_there(start: Start) -> None:
    plain = start("")
    assert (plain == start("init: content\ninit_noise: 0")).all()


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_noise_is_mixed_in(start: Start, share: float) -> None:
    plain, mixed = start("seed: 5"), start(f"seed: 5\ninit_noise: {share}")
    noise = (mixed - (1 - share) * plain) / share
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    assert noise.std() == pytest.approx(0.15, abs=0.01)
    assert noise.min() >= -1e-5
    assert abs(np.corrcoef(noise.ravel(), plain.ravel())[0, 1]) < 0.03
    assert (mixed == start(f"seed: 5\ninit_noise: {share}")).all()
    assert (mixed != start(f"seed: 6\ninit_noise: {share}")).any()


def test_noise_mixed_into_coloured_noise_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "noise.f32"
    write_coloured_noise(path, SIZE, 3, Moments(np.full(3, 0.5), np.eye(3) * 0.15**2))
    own = np.fromfile(path, dtype="<f4")
    mix_noise(path, SIZE, 3, 0.5)
    mixed_in = 2 * np.fromfile(path, dtype="<f4") - own
    assert mixed_in.std() == pytest.approx(0.15, abs=0.01)
    assert abs(np.corrcoef(own, mixed_in)[0, 1]) < 0.03


def test_style_statistics_of_several_styles_are_their_weighted_mixture(start: Start) -> None:
    styles = "styles: [{image: first.png, weight: 3}, {image: second.png}]"
    found = start("init: style_statistics", styles).reshape(-1, 3)
    first, second = (np.array(colour) / 255 for colour in FLAT.values())
    mean, apart = (3 * first + second) / 4, first - second
    covariance = np.outer(apart, apart) * 3 / 16
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=0.015)
    np.testing.assert_allclose(np.cov(found.T), covariance, atol=0.01)


def test_style_statistics_leave_out_what_does_not_count(tmp_path: Path, start: Start) -> None:
    colours, shares = np.zeros((20, 30, 3), "<f4"), np.zeros((20, 30), "<f4")
    colours[:, :15], colours[:, 15:] = (0.7, 0.2, 0.4), (0.1, 0.9, 0.1)
    shares[:, :15] = 1
    for name, values in (("half", colours), ("shares", shares)):
        values.tofile(tmp_path / f"{name}.f32")
    start("init: style_statistics")  # writes the job and its pictures
    raw = Raw(tmp_path / "half.f32", Size(30, 20), tmp_path / "shares.f32")
    write_start(prepare(load_job(tmp_path / "job.yaml")), tmp_path / "unused", [raw], tmp_path / "start.f32")
    found = np.fromfile(tmp_path / "start.f32", dtype="<f4").reshape(-1, 3)
    np.testing.assert_allclose(found, np.broadcast_to([0.7, 0.2, 0.4], found.shape), atol=1e-4)


def test_coloured_noise_has_the_moments_it_is_given(tmp_path: Path) -> None:
    root = np.array([[0.3, 0.1, 0], [0.1, 0.2, 0.05], [0, 0.05, 0.1]])
    moments = Moments(np.array([0.3, 0.9, 0.1]), root @ root)
    write_coloured_noise(tmp_path / "noise.f32", Size(400, 300), 1, moments)
    found = np.fromfile(tmp_path / "noise.f32", dtype="<f4").reshape(-1, 3)
    assert found.min() < -0.2  # nothing is clipped, which would change them
    np.testing.assert_allclose(found.mean(axis=0), moments.mean, atol=0.005)
    np.testing.assert_allclose(np.cov(found.T), moments.covariance, atol=0.002)


def test_noise_is_what_it_was_in_earlier_versions(tmp_path: Path) -> None:
    """Runs that were started under them go on."""
    write_noise(tmp_path / "noise.f32", Size(5, 3), 7)
    generator = np.random.default_rng(7)
    wanted = [np.clip(generator.normal(0.5, 0.15, (5, 3)), 0, 1) for _ in range(3)]
    found = np.fromfile(tmp_path / "noise.f32", dtype="<f4").reshape(3, 5, 3)
    assert (found == np.stack(wanted).astype("<f4")).all()


def test_a_start_that_is_no_picture_is_told_with_the_other_problems(start: Start, tmp_path: Path) -> None:
    (tmp_path / "start.png").write_bytes(b"no picture")
    (tmp_path / "broken.png").write_bytes(b"none either")
    with pytest.raises(JobError) as told:
        start("init: start.png", "style: broken.png")
    assert [problem.split(":")[0] for problem in told.value.problems] == ["style", "init"]


def test_a_start_that_is_cut_off_is_found_before_the_work(start: Start, tmp_path: Path) -> None:
    data = (tmp_path / "content.png").read_bytes()
    (tmp_path / "start.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(JobError, match=r"init: .* is truncated"):
        start("init: start.png")


def test_a_start_counts_as_an_input(start: Start, tmp_path: Path) -> None:
    Image.new("RGB", (400, 30)).save(tmp_path / "start.png")
    start("init: start.png")
    prepared = prepare(load_job(tmp_path / "job.yaml"))
    assert prepared.start == inspect(tmp_path / "start.png", "init")
    assert len(prepared.styles) == 1
    assert prepared.with_core(512).start == prepared.start
