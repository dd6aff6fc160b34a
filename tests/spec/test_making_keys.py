"""The keys of the making of: short forms, rules and their sentences."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilefarm.errors import JobError
from tilefarm.spec.load import load_job
from tilefarm.spec.making import Animation, Snapshots
from tilefarm.spec.model import Job


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    for name in ("a.gif", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    path = tmp_path / "job.yaml"
    path.write_text("content: a.gif\nstyle: b.jpg\noutput: {path: c.tif}\n")
    return path


def load(path: Path, more: str = "") -> Job:
    path.write_text(path.read_text() + more)
    return load_job(path)


def test_off_by_default(job_file: Path) -> None:
    job = load(job_file)
    assert job.snapshots == Snapshots(every=0, long_side=1080)
    assert job.animation is None


def test_short_forms(job_file: Path) -> None:
    job = load(job_file, "snapshots: 7\nanimation: film.mp4\n")
    assert job.snapshots == Snapshots(every=7)
    assert job.animation == Animation(path=job_file.parent / "film.mp4")
    assert job.animation.format == "mp4"
    assert load_job(job_file, ["animation=film.gif", "snapshots=0"]).snapshots.every == 0


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("snapshots: -1", "line 4: snapshots.every must be at least 0, got -1"),
        ("snapshots: true", "line 4: snapshots must be a mapping"),
        ("animation: film.avi", "line 4: animation.path must end in .gif, .mp4, got 'film.avi'"),
        ("animation: {path: f.gif, level: 0}", "animation.level must be all or the number of a level"),
        ("animation: {path: f.gif, seconds: 500}", "animation.seconds must be at most 120"),
        (
            "animation: {seconds: 3}",
            "animation.path is missing; name the film to write, for example picture.gif",
        ),
        ("animation: a.gif", "animation.path would overwrite content"),
        (
            "animation: {path: f.gif, long_side: 1200}",
            "animation.long_side must not be larger than snapshots.long_side, 1080",
        ),
        (
            "snapshots: {long_side: 100}\nanimation: f.gif",
            "animation.long_side must not be larger than snapshots.long_side, 100",
        ),
    ],
)
def test_sentences(job_file: Path, more: str, sentence: str) -> None:
    with pytest.raises(JobError) as caught:
        load(job_file, more)
    assert len(caught.value.problems) == 1
    assert sentence in caught.value.problems[0]


def test_all_at_once(job_file: Path) -> None:
    with pytest.raises(JobError) as caught:
        load(job_file, "snapshots: {every: x, lang_side: 3}\nanimation: {path: f.png, level: none}\n")
    assert len(caught.value.problems) == 4
