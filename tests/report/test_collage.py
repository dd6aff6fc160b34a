"""Collages as another reader sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tilefarm.errors import JobError
from tilefarm.image.colour import srgb_profile
from tilefarm.report.collage import write_collage
from tilefarm.rundir.layout import RunDir
from tilefarm.spec.load import load_job
from tilefarm.spec.resolved import to_yaml

CONTENT, FIRST, SECOND, RESULT = (200, 30, 30), (30, 160, 30), (30, 30, 220), (90, 90, 10)


def run_of(folder: Path, name: str, status: str = "done") -> RunDir:
    """A run folder as the driver leaves it: two styles, every picture of one colour."""
    Image.new("RGB", (120, 80), CONTENT).save(folder / "content.png")
    Image.new("RGB", (50, 100), FIRST).save(folder / "first.png")
    turned = Image.new("RGB", (300, 600), SECOND)
    turned.paste((255, 255, 255), (0, 300, 300, 600))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter to the right when shown: 600x300, white on the left
    turned.save(folder / "second.png", exif=exif)
    Image.new("RGB", (240, 160), RESULT).save(folder / f"{name}.png")
    (folder / "job.yaml").write_text(
        f"name: {name}\ncontent: content.png\nstyles: [{{image: first.png}}, {{image: second.png}}]\n"
        f"output: {{path: {name}.png}}\n"
    )
    run = RunDir(folder / "runs" / f"{name}-12345678")
    run.root.mkdir(parents=True)
    job = load_job(folder / "job.yaml")
    run.job.write_text(to_yaml(job))
    record: dict[str, Any] = {"status": status, "output": str(job.output.path), "width": 240, "height": 160}
    run.summary.write_text(json.dumps(record | {"seconds": 1, "levels": []}))
    return run


@pytest.mark.parametrize("name", ["c.png", "c.jpg", "c.tif"])
def test_content_styles_and_result_in_one_row(tmp_path: Path, name: str) -> None:
    written = write_collage([run_of(tmp_path, "gate")], tmp_path / name, 100)
    assert written == tmp_path / name
    with Image.open(written) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
        assert image.info["icc_profile"] == srgb_profile()
    gap, widths = 2, (150, 50, 200, 150)
    assert pixels.shape == (100, sum(widths) + 3 * gap, 3)
    left = 0
    for width, colour in zip(widths, (CONTENT, FIRST, None, RESULT), strict=True):
        area = pixels[6:-6, left + 6 : left + width - 6]
        if colour is None:
            assert np.abs(area[:, :80] - 255).max() <= 4, "turned upright: white is on the left"
            assert np.abs(area[:, -80:] - SECOND).max() <= 4
        else:
            assert np.abs(area - colour).max() <= 4
        left += width + gap
        if left < pixels.shape[1]:
            assert pixels[:, left - gap : left].min() > 200, "a white gap"


def test_a_row_for_each_run(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, "one"), run_of(tmp_path, "two")]
    written = write_collage(runs, None, 200)
    assert written == tmp_path / "runs" / "one-12345678-collage.png"
    with Image.open(written) as image:
        pixels = np.asarray(image)
    assert pixels.shape[0] == 2 * 200 + 2
    assert (pixels[100] == pixels[302]).all()
    assert (pixels[200:202] == 255).all()
    assert [path.name for path in written.parent.iterdir() if path.name.startswith(".")] == []


def test_runs_that_are_not_done_are_told_together(tmp_path: Path) -> None:
    good, bad = run_of(tmp_path, "good"), run_of(tmp_path, "bad", "failed")
    killed = run_of(tmp_path, "killed", "running")
    nothing = RunDir(tmp_path / "nothing")
    with pytest.raises(JobError) as error:
        write_collage([good, bad, killed, nothing], tmp_path / "c.png", 100)
    assert error.value.problems == (
        f"{bad.root} is failed, and a collage needs a run that is done; resume it first",
        f"{killed.root} is interrupted, and a collage needs a run that is done; resume it first",
        f"{nothing.root} is not the folder of a run; name a folder such as runs/NAME-HASH",
    )
    assert not (tmp_path / "c.png").exists()


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    run = run_of(tmp_path, "gate")
    with pytest.raises(JobError, match=r"--output must end in \.tif"):
        write_collage([run], tmp_path / "c.gif", 100)
    for name, what in (("content.png", "the content"), ("first.png", "a style"), ("gate.png", "the result")):
        with pytest.raises(JobError, match=f"would overwrite {what}"):
            write_collage([run], tmp_path / name, 100)
    (tmp_path / "gate.png").unlink()
    with pytest.raises(JobError, match=r"the result: .* does not exist"):
        write_collage([run], tmp_path / "c.png", 100)
