"""`submit --from IMAGE`: the same canvas again, or a sentence that says why not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image

from tests.delivered import SIZE, canvas, on_a_stand_in, only_run, write_job
from tests.program import Command
from tests.standins import Mixer, opener
from tilefarm.driver import render, run_folder
from tilefarm.execute.open import ExecutorChoice
from tilefarm.image.xmp import packet
from tilefarm.provenance import read_record
from tilefarm.spec.load import load_job
from tilefarm.spec.yaml_writer import write_yaml


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture and what it was made from, painted once; its run is gone."""
    folder = tmp_path_factory.mktemp("rendered")
    job = load_job(write_job(folder, "path: out.png, dpi: 150"))
    with pytest.MonkeyPatch.context() as patch:
        on_a_stand_in(patch)
        render(
            job,
            run_folder(job, folder / "runs"),
            ExecutorChoice("local"),
            lambda event: None,
            opener(Mixer()),
        )
    shutil.rmtree(folder / "runs")
    (folder / "gate.yaml").unlink()
    return folder


@pytest.fixture
def picture(tilefarm_command: Command, rendered: Path, tmp_path: Path) -> Path:
    """A copy of out.png, and of the pictures that it was made from, where the program works."""
    shutil.copytree(rendered, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out.png"


def change(path: Path, edit: Any) -> None:
    """Write another record into a picture, as a stranger might; the pixels stay."""
    record = read_record(path).model_dump()
    edit(record)
    image = pyvips.Image.new_from_file(str(path)).copy_memory()
    data = packet("t", "somebody", write_yaml(record))
    image.set_type(pyvips.GValue.blob_type, "xmp-data", data)
    image.pngsave(str(path), keep="xmp|icc")


def test_the_same_canvas_and_file_again(tilefarm_command: Command, tmp_path: Path) -> None:
    write_job(tmp_path, "path: out.png, dpi: 150")
    assert tilefarm_command("submit", "gate.yaml").code == 0
    first = canvas(only_run(tmp_path), 1, SIZE)
    (tmp_path / "runs").rename(tmp_path / "old")
    (tmp_path / "gate.yaml").unlink()
    answer = tilefarm_command("submit", "--from", "out.png", "--json")
    assert answer.code == 0, answer.err
    assert "note:" not in answer.err
    assert answer.records[0]["output"] == str(tmp_path / "out-again.png")
    np.testing.assert_array_equal(canvas(only_run(tmp_path), 1, SIZE), first)
    assert (tmp_path / "out-again.png").read_bytes() == (tmp_path / "out.png").read_bytes()
    shutil.rmtree(tmp_path / "runs")
    again = tilefarm_command("submit", "--from", tmp_path / "out-again.png", "--run-dir", "elsewhere")
    assert again.code == 0
    assert (tmp_path / "out-again-again.png").exists()
    assert not (tmp_path / "runs").exists()


def test_the_working_space_comes_back(tilefarm_command: Command, tmp_path: Path) -> None:
    write_job(tmp_path, "path: out.png")
    wide = ("--set", "color.working_space=wide")
    first = tilefarm_command("submit", "gate.yaml", *wide, "--json")
    shutil.rmtree(tmp_path / "runs")
    answer = tilefarm_command("submit", "--from", "out.png", "--json")
    assert answer.code == 0, answer.err
    named = [each.records[0]["color"]["working_space"] for each in (first, answer)]
    assert named == ["wide", "wide"]
    assert read_record(tmp_path / "out-again.png").job["color"]["working_space"] == "wide"
    assert (tmp_path / "out-again.png").read_bytes() == (tmp_path / "out.png").read_bytes()


def test_a_new_name_is_never_one_that_exists(tilefarm_command: Command, picture: Path) -> None:
    (picture.parent / "out-again.png").write_bytes(b"mine")
    assert tilefarm_command("submit", "--from", picture).code == 0
    assert (picture.parent / "out-again.png").read_bytes() == b"mine"
    assert (picture.parent / "out-again-2.png").exists()


def test_another_output_and_other_keys(tilefarm_command: Command, picture: Path) -> None:
    answer = tilefarm_command(
        "submit", "--from", picture, "--set", "output.path=new.tif", "--set", "output.long_side=60"
    )
    assert answer.code == 0, answer.err
    record = read_record(picture.parent / "new.tif")
    assert record.picture == [60, 45]
    assert record.job["output"]["bit_depth"] == 16, "a TIFF's own default"
    assert record.job["output"]["dpi"] == 150


def test_pictures_may_lie_in_the_folder_above(tilefarm_command: Command, picture: Path) -> None:
    (picture.parent / "deep").mkdir()
    moved = picture.rename(picture.parent / "deep" / "out.png")
    assert tilefarm_command("submit", "--from", moved).code == 0
    assert (picture.parent / "deep" / "out-again.png").exists()


def test_missing_and_changed_pictures_are_told_together(tilefarm_command: Command, picture: Path) -> None:
    folder = picture.parent
    (folder / "night.png").unlink()
    photo = (folder / "photo.png").rename(folder / "kept.png")
    Image.new("RGB", (120, 90), (9, 9, 9)).save(folder / "photo.png")
    answer = tilefarm_command("submit", "--from", picture)
    assert answer.code == 2
    assert len(answer.told) == 2
    assert f"--set content={folder / 'photo.png'}" in answer.told[0]
    assert "content: " in answer.told[0]
    assert "styles.0.image: 'night.png' is neither in" in answer.told[1]
    Image.new("RGB", (60, 40), (9, 9, 200)).save(folder / "blue.png")
    answer = tilefarm_command(
        "submit", "--from", picture, "--set", f"content={photo}", "--set", "styles.0.image=blue.png"
    )
    assert answer.code == 0, answer.err
    notes = [line for line in answer.told if line.startswith("note: ")]
    assert len(notes) == 1, notes
    assert "styles.0.image: " in notes[0]
    assert "another file than the one" in notes[0]


def test_another_version_is_a_note(tilefarm_command: Command, picture: Path) -> None:
    change(picture, lambda record: record.update(tilefarm="0.0.1", torch="1.0"))
    answer = tilefarm_command("submit", "--from", picture)
    assert answer.code == 0
    assert "note: " in answer.err
    assert "made by tilefarm 0.0.1 with torch 1.0" in answer.err


def test_an_animation_is_left_out_and_can_be_asked_for(tilefarm_command: Command, tmp_path: Path) -> None:
    write_job(tmp_path, "path: out.png", "animation: {path: film.gif, long_side: 64, seconds: 1}\n")
    assert tilefarm_command("submit", "gate.yaml").code == 0
    film = (tmp_path / "film.gif").read_bytes()
    shutil.rmtree(tmp_path / "runs")
    answer = tilefarm_command("submit", "--from", "out.png")
    assert answer.code == 0
    assert "its job also made an animation" in answer.err
    assert (tmp_path / "film.gif").read_bytes() == film
    shutil.rmtree(tmp_path / "runs")
    answer = tilefarm_command(
        "submit", "--from", "out.png", "--set", "animation={path: other.gif, long_side: 64, seconds: 1}"
    )
    assert answer.code == 0
    assert (tmp_path / "other.gif").exists()


STRANGE = [
    (lambda r: r["job"].update(content="/etc/hostname"), "'/etc/hostname' is neither"),
    (lambda r: r["job"].update(content="../../photo.png"), "is neither in"),
    (lambda r: r["inputs"].pop("content"), "content"),
    (lambda r: r["job"].update(init="/etc/hostname"), "init: the record in .* has no SHA-256"),
    (lambda r: r["job"]["network"].update(weights="w.pt"), "network.weights"),
    (lambda r: r["job"].update(matrix={"seed": [1, 2]}), "'matrix' is not a key"),
    (lambda r: r["job"].update(name="../../evil"), "name must be"),
    (lambda r: r["job"].update(styles=5), "styles"),
    (lambda r: r["job"]["tiles"].update(size=10**9), "tiles.size"),
    (lambda r: r["job"]["output"].update(width=10**9, long_side=None), "output.width"),
    (lambda r: r["job"].update(output="x"), "output"),
    (lambda r: r["job"].update(later_key=1), "'later_key' is not a key"),
    (lambda r: r["inputs"].update({"styles.7.image": "0" * 64}), "styles.7.image"),
    (lambda r: r["inputs"].update({"name": "0" * 64}), "name: 'gate' is neither"),
]


@pytest.mark.parametrize(("edit", "why"), STRANGE)
def test_a_strangers_job_is_checked_like_a_job_file(
    tilefarm_command: Command, picture: Path, edit: Any, why: str
) -> None:
    before = sorted(path.name for path in picture.parent.iterdir())
    change(picture, edit)
    answer = tilefarm_command("submit", "--from", picture)
    assert answer.code == 2
    assert all(line.startswith("error: ") for line in answer.told if not line.startswith("note: "))
    assert re.search(why, answer.err), answer.err
    assert sorted(path.name for path in picture.parent.iterdir()) == before


def test_a_record_says_nowhere_to_write(tilefarm_command: Command, picture: Path) -> None:
    outside = picture.parent.parent / "stolen.png"

    def edit(record: dict[str, Any]) -> None:
        record["job"]["output"]["path"] = str(outside)
        record["job"]["animation"] = {"path": str(outside.with_suffix(".gif"))}

    change(picture, edit)
    assert tilefarm_command("submit", "--from", picture).code == 0
    assert not list(outside.parent.glob("stolen.*"))
    assert (picture.parent / "out-again.png").exists()


def test_a_picture_that_was_cut_afterwards_is_a_note(tilefarm_command: Command, picture: Path) -> None:
    image = pyvips.Image.new_from_file(str(picture)).copy_memory()
    image.crop(0, 0, 50, 50).pngsave(str(picture), keep="xmp|icc")
    answer = tilefarm_command("submit", "--from", picture)
    assert answer.code == 0
    assert "has 50x50 pixels and its record says 120x90" in answer.err


def test_plan_looks_at_it_too(tilefarm_command: Command, picture: Path) -> None:
    answer = tilefarm_command("plan", "--from", picture, "--no-calibrate", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["output"] == {"width": 120, "height": 90}
    assert not (picture.parent / "runs").exists()


@pytest.mark.parametrize("arguments", [["submit"], ["submit", "gate.yaml", "--from", "out.png"], ["plan"]])
def test_a_job_file_or_a_picture(tilefarm_command: Command, arguments: list[str]) -> None:
    answer = tilefarm_command(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert "Usage" in answer.err
