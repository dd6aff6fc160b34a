"""Where a job file may write: not out of its own folder by `..` or links, unless the user says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilefarm.errors import JobError
from tilefarm.files import replacing
from tilefarm.output.check_target import check_place
from tilefarm.spec.load import load_job
from tilefarm.spec.starter import starter_job
from tilefarm.spec.sweep import load_jobs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job's folder with pictures beside it, and in it links to the outside and to itself."""
    job = tmp_path / "job"
    for place in (job / "sub", tmp_path / "outside"):
        place.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (job / "link").symlink_to(tmp_path / "outside")
    (job / "here").symlink_to(job / "sub")
    (job / "loop").symlink_to(job / "loop")
    return job


def write(folder: Path, output: str, more: str = "") -> Path:
    path = folder / "job.yaml"
    path.write_text(f"content: ../a.jpg\nstyle: ../b.jpg\noutput:\n  path: {output}\n{more}")
    return path


@pytest.mark.parametrize(
    "output", ["../c.tif", "sub/../../c.tif", "link/c.tif", "link/new/c.tif", "here/../../c.tif"]
)
def test_climbing_out_is_refused_with_its_line(folder: Path, output: str) -> None:
    with pytest.raises(JobError) as caught:
        load_job(write(folder, output))
    (problem,) = caught.value.problems
    assert (
        f"job.yaml, line 4: output.path must stay in the job file's folder, but '{output}' leads to"
        in problem
    )


@pytest.mark.parametrize("film", ["../f.gif", "{path: ../f.gif}", "link/f.gif"])
def test_films_stay_inside_too(folder: Path, film: str) -> None:
    with pytest.raises(JobError, match=r"line 5: animation(\.path)? must stay in the job file's folder"):
        load_job(write(folder, "c.tif", f"animation: {film}\n"))


@pytest.mark.parametrize(
    "output", ["c.tif", "new/c.tif", "sub/../c.tif", "here/c.tif", "../job/c.tif", "..c.tif"]
)
def test_inside_is_allowed(folder: Path, output: str) -> None:
    assert load_job(write(folder, output)).output.path == folder / output


def test_what_says_openly_where_it_leads_is_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = folder.parent / "outside"
    monkeypatch.setenv("HOME", str(outside))
    assert load_job(write(folder, f"{outside}/c.tif")).output.path == outside / "c.tif"
    assert load_job(write(folder, "~/c.tif")).output.path == outside / "c.tif"


def test_the_user_may_send_it_anywhere(folder: Path) -> None:
    job = load_job(write(folder, "../../stealth.tif"), ["output.path=../c.tif", "animation=../f.gif"])
    assert job.output.path.resolve() == folder.parent / "c.tif"
    assert load_job(write(folder, "../x.tif"), ["output={path: link/c.tif}"])
    with pytest.raises(JobError, match="must stay"):
        load_job(write(folder, "../c.tif"), ["output.dpi=100"])


def test_a_job_folder_that_is_a_link_itself_is_the_job_folder(folder: Path) -> None:
    write(folder, "c.tif")
    (folder.parent / "way").symlink_to(folder)
    assert load_job(folder.parent / "way" / "job.yaml").output.path.name == "c.tif"


def test_a_sweep_stays_inside_too(folder: Path) -> None:
    path = write(folder, "../{name}.tif", "matrix: {seed: [1, 2]}\n")
    with pytest.raises(JobError, match=r"line 4: output\.path must stay in the job file's folder"):
        load_jobs(path)
    assert len(load_jobs(path, ["output.path=../{name}.tif"]).jobs) == 2


def test_a_loop_of_links_is_a_sentence(folder: Path) -> None:
    with pytest.raises(JobError, match="loop"):
        check_place(load_job(write(folder, "loop/c.tif")).output.path, "output.path")


def test_mistakes_beside_it_are_told_too(folder: Path) -> None:
    with pytest.raises(JobError) as caught:
        load_job(write(folder, "../c.tif", "seed: -1\n"))
    assert len(caught.value.problems) == 2


def test_a_starter_for_an_output_elsewhere_can_be_submitted(folder: Path) -> None:
    above = folder.parent
    text = starter_job(above / "a.jpg", above / "b.jpg", above / "outside" / "c.tif", folder)
    (folder / "job.yaml").write_text(text)
    assert load_job(folder / "job.yaml").output.path == above / "outside" / "c.tif"


def test_a_link_in_the_place_of_the_output_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"keep me")
    (tmp_path / "c.tif").symlink_to(tmp_path / "secret")
    with replacing(tmp_path / "c.tif") as temporary:
        temporary.write_bytes(b"picture")
    assert (tmp_path / "secret").read_bytes() == b"keep me"
    assert not (tmp_path / "c.tif").is_symlink()
    assert (tmp_path / "c.tif").read_bytes() == b"picture"
