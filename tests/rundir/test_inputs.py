"""A run folder and the job that it is resumed with: changes are named, strangers left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tilefarm.errors import JobError
from tilefarm.rundir.find import check_ours, load_run, run_folder
from tilefarm.rundir.inputs import differences, write_job
from tilefarm.rundir.layout import RunDir, RunLock
from tilefarm.spec.load import load_job
from tilefarm.spec.resolved import to_yaml

PICTURES = ("content.png", "a.png", "b.png", "mask.png", "start.png")
TEXT = """\
content: content.png
styles: [{image: a.png}, {image: b.png, mask: mask.png}]
output: {path: out.tif, width: 40}
init: start.png
objective: {style_layers: {relu1_1: 1, relu2_1: 2}}
network: {weights: w.pt}
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    for number, name in enumerate(PICTURES):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels if name != "mask.png" else pixels[..., 0]).save(tmp_path / name)
    (tmp_path / "w.pt").write_bytes(b"weights")
    (tmp_path / "job.yaml").write_text(TEXT)
    job = load_job(tmp_path / "job.yaml")
    run = run_folder(job, tmp_path / "runs")
    run.root.mkdir(parents=True)
    write_job(run, job)
    return run


def test_nothing_has_changed(run: RunDir) -> None:
    job, found = load_run(run)
    assert found == run
    assert differences(run, job) == []


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("content.png", "content"),
        ("a.png", "styles.0.image"),
        ("b.png", "styles.1.image"),
        ("mask.png", "styles.1.mask"),
        ("start.png", "init"),
        ("w.pt", "network.weights"),
    ],
)
def test_the_file_that_has_changed_is_named(run: RunDir, tmp_path: Path, name: str, role: str) -> None:
    path = tmp_path / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(JobError) as caught:
        load_run(run)
    assert str(caught.value) == (
        f"{run.root} cannot go on to the same picture, since these have changed since it was started: "
        f"{role} ({path}) holds other bytes; restore them, or submit the job anew"
    )


def test_keys_of_the_settings_are_named_with_both_values(run: RunDir, tmp_path: Path) -> None:
    changed = ("seed=3", "objective.style_layers.relu2_1=5", "styles.0.weight=2")
    other = load_job(tmp_path / "job.yaml", changed)
    assert differences(run, other) == [
        "objective.style_layers.relu2_1 is 5.0 and was 2.0",
        "seed is 3 and was 0",
        "styles.0.weight is 2.0 and was 1.0",
    ]


def test_a_run_of_the_version_before_has_no_record(run: RunDir, tmp_path: Path) -> None:
    run.inputs.unlink()
    run.job.write_text(to_yaml(load_job(tmp_path / "job.yaml")))
    assert load_run(run)[1] == run
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes() + b" ")
    with pytest.raises(JobError, match="its pictures, weights or settings"):
        load_run(run)


def test_a_job_file_with_any_flipped_bit_or_cut_off_anywhere_is_refused(run: RunDir) -> None:
    whole = run.job.read_bytes()
    for place in range(0, len(whole), 11):
        data = bytearray(whole)
        data[place] ^= 1 << (place % 8)
        for damaged in (bytes(data), whole[:place]):
            run.job.write_bytes(damaged)
            with pytest.raises(JobError, match=r"is not as tilefarm wrote it.*submit the job file"):
                load_run(run)
    run.job.write_bytes(whole)
    assert load_run(run)[1] == run


def test_a_damaged_record_of_the_inputs_is_written_again(run: RunDir, tmp_path: Path) -> None:
    whole = run.inputs.read_bytes()
    for damaged in (whole[:100], whole.replace(b"sha256", b"sha257", 1), b""):
        run.inputs.write_bytes(damaged)
        write_job(run, load_job(tmp_path / "job.yaml"))
        assert run.inputs.read_bytes() == whole


def test_a_folder_of_somebody_else_is_left_alone(run: RunDir, tmp_path: Path) -> None:
    check_ours(run)
    check_ours(RunDir(tmp_path / "nowhere"))
    fresh = RunDir(tmp_path / "fresh")
    with RunLock(fresh):
        check_ours(fresh)  # killed before it had begun
    (fresh.root / ".job.yaml.17.part.yaml").touch()
    check_ours(fresh)
    shutil.copy(tmp_path / "a.png", fresh.root / "holiday.png")
    with pytest.raises(JobError, match=r"fresh holds holiday.png and no job.yaml, so it is not a run folder"):
        check_ours(fresh)
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"file is a file, and the run needs a folder"):
        check_ours(RunDir(tmp_path / "file"))


def test_a_run_that_has_lost_its_job_is_still_a_run(run: RunDir) -> None:
    run.job.unlink()
    check_ours(run)
    with pytest.raises(JobError, match=r"job.yaml is missing; submit the job file that the run was started"):
        load_run(run)
    run.inputs.write_bytes(run.inputs.read_bytes()[:50])
    with pytest.raises(JobError, match=r"no job\.yaml, so it is not a run folder"):
        check_ours(run)
