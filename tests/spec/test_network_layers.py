"""Each network's own default layers, and the rules of its keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.plan.build import build_plan
from tilefarm.spec.fingerprint import fingerprint
from tilefarm.spec.layer_defaults import default_layers, with_default_layers
from tilefarm.spec.load import load_job
from tilefarm.spec.model import Job, Network, Objective
from tilefarm.spec.networks import NETWORK_NAMES, layer_names
from tilefarm.spec.resolved import to_yaml

JOB = "content: a.jpg\nstyle: b.jpg\noutput: {path: c.tif}\n"
SQUEEZENET = JOB + "network: {name: squeezenet, weights: w.safetensors}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "w.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def load(folder: Path, text: str, *overrides: str) -> Job:
    (folder / "job.yaml").write_text(text, encoding="utf-8")
    return load_job(folder / "job.yaml", overrides)


def test_a_job_that_names_no_layers_gets_its_networks(folder: Path) -> None:
    job = load(folder, SQUEEZENET)
    assert job.objective.content_layers == default_layers("squeezenet")["content_layers"]
    assert job.objective.style_layers == default_layers("squeezenet")["style_layers"]
    assert load(folder, JOB).objective == Objective()
    assert load(folder, JOB, "network.name=squeezenet", "network.weights=w.safetensors") == job


def test_layers_that_a_job_names_count(folder: Path) -> None:
    job = load(folder, SQUEEZENET, "objective={style_layers: {fire9: 2, relu1: 1, fire3: 1}, tv_weight: 3}")
    assert job.objective.style_layers == (("relu1", 1.0), ("fire3", 1.0), ("fire9", 2.0))
    assert job.objective.content_layers == default_layers("squeezenet")["content_layers"]
    assert job.objective.tv_weight == 3


def test_the_layers_of_finished_models_do_too() -> None:
    given = {
        "network": Network(name="squeezenet", weights="torchvision"),
        "objective": Objective(tv_weight=2),
    }
    objective = with_default_layers(given)["objective"]
    assert objective == Objective.model_validate({**default_layers("squeezenet"), "tv_weight": 2})
    named = Objective.model_validate({"content_layers": {"fire2": 1}})
    assert with_default_layers({**given, "objective": named})["objective"].content_layers == (("fire2", 1.0),)


@pytest.mark.parametrize("odd", [None, 3, "relu1", ["relu1"]])
def test_what_is_no_objective_or_network_is_left_to_its_own_rule(odd: object) -> None:
    for given in (
        {"network": {"name": "squeezenet"}, "objective": odd},
        {"network": odd},
        {"network": {"name": odd}},
    ):
        assert with_default_layers(given) == given


@pytest.mark.parametrize("network", NETWORK_NAMES)
def test_the_default_layers_are_the_networks(network: str) -> None:
    layers = default_layers(network)
    assert set(layers) == {"content_layers", "style_layers"}
    order = layer_names(network)
    for pairs in layers.values():
        assert [order.index(name) for name, _ in pairs] == sorted(order.index(name) for name, _ in pairs)


def test_a_resolved_job_is_the_same_job_with_the_same_run(folder: Path) -> None:
    job = load(folder, SQUEEZENET)
    (folder / "resolved.yaml").write_text(to_yaml(job), encoding="utf-8")
    again = load_job(folder / "resolved.yaml")
    assert again == job
    assert fingerprint(again) == fingerprint(job)


def test_the_layers_of_another_network_are_a_sentence(folder: Path) -> None:
    with pytest.raises(JobError) as caught:
        load(folder, SQUEEZENET, "objective.style_layers={relu1_1: 1, fire2: 1}")
    [problem] = caught.value.problems
    assert "relu1_1 is not a layer of squeezenet" in problem


def test_padding_where_there_is_none_is_a_sentence(folder: Path) -> None:
    assert load(folder, SQUEEZENET, "network.padding=zeros").network.padding == "zeros"
    with pytest.raises(JobError) as caught:
        load(folder, SQUEEZENET, "network.padding=reflect", "seed=-1")
    told = [problem for problem in caught.value.problems if "network.padding" in problem]
    assert len(told) == 1
    assert "must be zeros for squeezenet, got 'reflect'" in told[0]
    assert len(caught.value.problems) == 2


def test_squeezenet_without_weights_says_where_to_get_them(folder: Path) -> None:
    with pytest.raises(JobError, match="must be torchvision or the path of a weights file for squeezenet"):
        load(folder, JOB + "network: {name: squeezenet}\n")


def test_its_pieces_have_both_halos(folder: Path) -> None:
    job = load(folder, SQUEEZENET, "output.width=1001", "tiles.size=256")
    level = build_plan(job, Size(1001, 700), [Size(300, 300)]).levels[-1]
    inner = [piece for piece in level.pieces if piece.core.left > 200 and piece.core.right < 850]
    assert {piece.core.left - piece.crop.left for piece in inner} == {64}
    assert {piece.crop.right - piece.core.right for piece in inner} == {80}
