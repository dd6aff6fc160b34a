"""Keys that would change nothing are refused, but not in the run folders that have them already."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilefarm.errors import JobError
from tilefarm.rundir.find import load_run, run_folder
from tilefarm.spec.load import load_job
from tilefarm.spec.resolved import to_yaml

HEAD = "content: a.jpg\nstyle: a.jpg\noutput: {path: c.tif}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(b"x")
    return tmp_path


def told(folder: Path, more: str) -> list[str]:
    path = folder / "job.yaml"
    path.write_text(HEAD + more)
    try:
        load_job(path)
    except JobError as error:
        return [problem.replace(str(path), "job") for problem in error.problems]
    return []


TV = (
    "objective.tv_exponent changes nothing while objective.tv_weight is 0; raise that too, or leave "
    "tv_exponent out"
)
DECAY = "objective.style_layer_decay changes nothing with a single layer"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("objective: {tv_exponent: 1}", TV),
        ("objective: {tv_exponent: 1, tv_weight: 0}", TV),
        ("preset: gatys2015\nobjective: {tv_exponent: 1}", TV),
        ("objective: {style_layer_decay: 2, style_layers: {relu3_1: 1, relu4_1: 0}}", DECAY),
    ],
)
def test_keys_without_an_effect_are_told_with_their_line(folder: Path, more: str, sentence: str) -> None:
    (problem,) = told(folder, more)
    assert sentence in problem
    assert problem.startswith(f"job, line {3 + more.count(chr(10)) + 1}: ")


@pytest.mark.parametrize(
    "more",
    [
        "objective: {tv_exponent: 2.0, tv_weight: 0.0, style_layer_decay: 1.0}",  # as a starter file has them
        "objective: {tv_exponent: 1, tv_weight: 3}",
        "preset: nuffer2016\nobjective: {tv_weight: 0}",  # the exponent is the preset's
        "preset: crowsonkb\nobjective: {tv_exponent: 1}",  # the weight is
        "objective: {style_layer_decay: 2}",
        "network: {name: squeezenet, weights: torchvision}\nobjective: {style_layer_decay: 2}",
        "objective: {style_layer_decay: 2, style_layers: {relu3_1: 1, relu4_1: 2}}",
    ],
)
def test_keys_with_an_effect_are_fine(folder: Path, more: str) -> None:
    assert told(folder, more) == []


def test_a_run_of_an_earlier_version_goes_on(folder: Path) -> None:
    (folder / "job.yaml").write_text(HEAD + "objective: {tv_exponent: 1}")
    job = load_job(folder / "job.yaml", kept=True)
    run = run_folder(job, folder)
    run.root.mkdir()
    run.job.write_text(to_yaml(job))
    assert load_run(run)[0] == job


@pytest.mark.parametrize(
    ("compute", "method", "refused"),
    [
        ("half", "feathered", True),
        ("packed", "feathered", True),
        ("float32", "feathered", False),
        ("auto", "feathered", False),
        ("half", "exact", False),
    ],
)
def test_a_transport_is_the_exact_methods(folder: Path, compute: str, method: str, refused: bool) -> None:
    found = told(folder, f"method: {method}\ncompute: {{transport: {compute}}}\n")
    assert ["changes nothing with method feathered" in problem for problem in found] == [True] * refused
