"""What `tilefarm init` must not write over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilefarm.errors import JobError
from tilefarm.spec.starter import check_new_job


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "painting.png", "old.tif", "old.yaml"):
        Path(name).write_bytes(b"x")
    Path("link.jpg").symlink_to("photo.jpg")
    return Path("photo.jpg"), Path("painting.png")


def refusal(job: str, output: str, inputs: tuple[Path, Path], force: bool) -> list[str]:
    with pytest.raises(JobError) as caught:
        check_new_job(Path(job), Path(output), inputs, force)
    return list(caught.value.problems)


def test_new_files_are_fine(inputs: tuple[Path, Path]) -> None:
    check_new_job(Path("new/job.yaml"), Path("new/out.tif"), inputs, force=False)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("path", ["photo.jpg", "./painting.png", "link.jpg"])
def test_inputs_are_never_replaced(inputs: tuple[Path, Path], path: str, force: bool) -> None:
    (problem,) = refusal("new.yaml", path, inputs, force)
    assert problem.startswith("--output would overwrite p")
    (problem,) = refusal(path, "out.tif", inputs, force)
    assert problem.startswith("--job would overwrite p")


def test_other_files_are_replaced_only_by_force(inputs: tuple[Path, Path]) -> None:
    assert refusal("old.yaml", "old.tif", inputs, force=False) == [
        "old.yaml exists already; choose another --job, or replace it with --force",
        "old.tif exists already; choose another --output, or let the job replace it with --force",
    ]
    check_new_job(Path("old.yaml"), Path("old.tif"), inputs, force=True)


def test_the_job_and_its_picture_are_two_files(inputs: tuple[Path, Path]) -> None:
    (problem,) = refusal("new/../a.tif", "a.tif", inputs, force=True)
    assert problem.startswith("--job and --output name the same file, a.tif")
