"""Finished files at addresses, in the job file."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tilefarm.errors import JobError
from tilefarm.spec.fingerprint import fingerprint
from tilefarm.spec.load import load_job
from tilefarm.spec.resolved import to_yaml
from tilefarm.spec.sweep import load_jobs

BEGIN = "content: a.png\nstyle: a.png\n"


def job(folder: Path, text: str) -> Path:
    Image.new("RGB", (32, 24)).save(folder / "a.png")
    (folder / "job.yaml").write_text(BEGIN + text)
    return folder / "job.yaml"


def test_a_path_that_is_an_address_stands_for_a_file_here_and_the_address(tmp_path: Path) -> None:
    path = job(tmp_path, "output: {path: 's3://bucket/deep/b.png'}\nanimation: gs://other/b.gif\n")
    found = load_job(path)
    assert found.output.path == tmp_path / "outbox/bucket/deep/b.png"
    assert str(found.output.address) == "s3://bucket/deep/b.png"
    assert found.output.format == "png"
    assert found.animation is not None
    assert (found.animation.path, str(found.animation.address)) == (
        tmp_path / "outbox/other/b.gif",
        "gs://other/b.gif",
    )
    (tmp_path / "kept.yaml").write_text(to_yaml(found))
    assert load_job(tmp_path / "kept.yaml", kept=True) == found


def test_an_address_is_not_in_the_fingerprint(tmp_path: Path) -> None:
    far = load_job(job(tmp_path, "output: {path: 's3://bucket/b.png'}\n"))
    assert fingerprint(load_job(job(tmp_path, "output: {path: b.png}\n"))) == fingerprint(far)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("{path: b.png, address: 's3://bucket/b.tif'}", "output.address must end as the path does, '.png'"),
        ("{path: 's3://b/b.png', address: 's3://b/c.png'}", "output.address cannot be given where the path"),
        ("{path: b.png, address: elsewhere.png}", "output.address must be PROTOCOL://PLACE/NAME"),
        ("{path: b.png, address: 3}", "output.address must be an address"),
        ("{path: 's3://b/../b.png'}", "output.path must not hold the parts"),
        ("{path: 's3://me:hush@b/b.png'}", "output.path must not hold a password"),
        ("{path: 's3://b/b.doc'}", "output.path must end in"),
    ],
)
def test_what_is_wrong_is_told_without_secrets(tmp_path: Path, output: str, sentence: str) -> None:
    with pytest.raises(JobError) as refusal:
        load_job(job(tmp_path, f"output: {output}\n"))
    assert sentence in str(refusal.value)
    assert "hush" not in str(refusal.value)


def test_the_runs_of_a_sweep_have_addresses_of_their_own(tmp_path: Path) -> None:
    sweep = "matrix:\n  seed: [1, 2]\n"
    for written, ends in (("b.png", "seed"), ("{name}.png", "job")):
        jobs = load_jobs(job(tmp_path, f"output: {{path: 's3://bucket/{written}'}}\n{sweep}")).jobs
        found = [str(one.output.address) for one in jobs]
        assert len(set(found)) == 2
        assert all(address.startswith("s3://bucket/") and ends in address for address in found), found
