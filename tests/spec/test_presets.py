"""What a preset fills in, and what the job says itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tilefarm.errors import JobError
from tilefarm.plan.layers import style_layers
from tilefarm.spec.fingerprint import fingerprint
from tilefarm.spec.load import load_job
from tilefarm.spec.model import Job, Network, Objective, Optimizer
from tilefarm.spec.preset import with_preset
from tilefarm.spec.presets import PRESETS, PresetName
from tilefarm.spec.resolved import to_yaml

JOB: dict[str, Any] = {"content": "a.jpg", "style": "b.jpg", "output": {"path": "c.tif"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "w.pt"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def load(folder: Path, keys: dict[str, Any], *overrides: str) -> Job:
    (folder / "job.yaml").write_text(yaml.safe_dump(JOB | keys), encoding="utf-8")
    return load_job(folder / "job.yaml", overrides)


def plain(value: Any) -> Any:
    """As a job file would have it."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_keys_written_out(folder: Path, name: PresetName) -> None:
    job = load(folder, {"preset": name})
    written = load(folder, plain(PRESETS[name].keys))
    assert (job.preset, written.preset) == (name, None)
    assert job.model_copy(update={"preset": None}) == written
    assert fingerprint(job) == fingerprint(written)
    assert fingerprint(job) != fingerprint(load(folder, {}))


def test_presets_differ(folder: Path) -> None:
    found = {fingerprint(load(folder, {"preset": name})) for name in PRESETS}
    assert len(found) == len(PRESETS) == 5


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("overrides", [(), ("optimizer.name=cg", "objective.style_layers={relu2_2: 3}")])
def test_resolved_jobs_show_the_values_and_load_back(
    folder: Path, name: PresetName, overrides: tuple[str, ...]
) -> None:
    job = load(folder, {"preset": name}, *overrides)
    text = to_yaml(job)
    (folder / "resolved.yaml").write_text(text, encoding="utf-8")
    again = load_job(folder / "resolved.yaml")
    assert again == job
    assert fingerprint(again) == fingerprint(job)
    shown = yaml.safe_load(text)
    for key, value in PRESETS[name].keys["objective"].items():
        if not (overrides and key == "style_layers"):
            assert shown["objective"][key] == plain(value)


def test_keys_of_the_job_come_first(folder: Path) -> None:
    keys = {
        "preset": "crowsonkb",
        "network": {"pooling": "l2"},
        "objective": {"content_weight": 0.5, "content_layers": {"relu3_2": 1}},
        "pyramid": {"iterations": [7]},
        "init": "style_statistics",
    }
    job = load(folder, keys, "objective.tv_weight=3", "optimizer.step_size=0.1")
    assert (job.network.pooling, job.network.padding) == ("l2", "replicate")
    objective = job.objective
    assert (objective.content_weight, objective.tv_weight, objective.units) == (0.5, 3.0, "averaged")
    assert objective.content_layers == (("relu3_2", 1.0),)
    assert objective.style_statistics == (("wasserstein", 1.0),)
    assert (job.pyramid.smallest, job.pyramid.iterations) == (128, (7,))
    assert job.init == "style_statistics"
    assert job.optimizer == Optimizer.model_validate({"name": "adam", "step_size": 0.1})


def test_another_optimizer_gets_its_own_defaults(folder: Path) -> None:
    adam = load(folder, {"preset": "neural-style-pt", "optimizer": {"name": "adam"}})
    assert adam.optimizer == Optimizer.model_validate({"name": "adam"})
    lbfgs = load(folder, {"preset": "crowsonkb"}, "optimizer.name=lbfgs")
    assert lbfgs.optimizer == Optimizer()
    same = load(folder, {"preset": "neural-style-pt", "optimizer": {"name": "lbfgs"}})
    assert same.optimizer.history == 100


def test_a_preset_can_be_set_and_taken_away(folder: Path) -> None:
    assert load(folder, {}, "preset=spst") == load(folder, {"preset": "spst"})
    assert load(folder, {"preset": "spst"}, "preset=null") == load(folder, {})


def test_finished_sections_are_merged_too() -> None:
    given = {
        "preset": "spst",
        "network": Network(pooling="average"),
        "objective": Objective(tv_weight=2.0),
        "optimizer": Optimizer.model_validate({"name": "cg"}),
    }
    filled = with_preset(given)
    assert filled["network"] == {"pooling": "average", "padding": "zeros"}
    assert filled["objective"] == {**PRESETS["spst"].keys["objective"], "tv_weight": 2.0}
    assert filled["optimizer"]["name"] == "cg"
    assert filled["pyramid"] == PRESETS["spst"].keys["pyramid"]


@pytest.mark.parametrize("odd", [None, 3, "relu1", ["relu1"]])
def test_what_has_no_form_is_left_to_its_own_rule(folder: Path, odd: object) -> None:
    assert with_preset({"preset": odd}) == {"preset": odd}
    for key in ("network", "objective", "optimizer"):
        assert with_preset({"preset": "spst", key: odd})[key] == odd
        with pytest.raises(JobError, match=f": {key} (must be a mapping|is empty)"):
            load(folder, {"preset": "spst", key: odd})


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"preset": "gatys2016"},
            "preset must be gatys2015, nuffer2016, neural-style-pt, spst or crowsonkb, got 'gatys2016'; "
            "did you mean 'gatys2015'?",
        ),
        (
            {"preset": "spst", "network": {"name": "squeezenet", "weights": "w.pt"}},
            "preset is made for vgg16 and vgg19, and network.name is squeezenet; leave one of them out",
        ),
        (
            {"preset": "gatys2015", "init_noise": 0.5},
            "init_noise cannot be given with init: noise, which is all noise already; remove it "
            "(preset: gatys2015 sets the other key)",
        ),
        (
            {"preset": "crowsonkb", "optimizer": {"history": 5}},
            "optimizer.history is a key of the optimizer lbfgs, and optimizer.name is adam; remove it, "
            "or set optimizer.name to lbfgs (preset: crowsonkb sets the other key)",
        ),
        (
            {"preset": "spst", "init": "noise", "init_noise": 0.5},  # the job's own two keys
            "init_noise cannot be given with init: noise, which is all noise already; remove it",
        ),
        (
            {"preset": "crowsonkb", "objective": {"activation_shift": -1}},
            "objective.activation_shift acts on Gram matrices, which style_statistics leaves out; "
            "leave one of the two keys out (preset: crowsonkb sets the other key)",
        ),
    ],
)
def test_mistakes_are_told(folder: Path, keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(JobError) as caught:
        load(folder, keys)
    assert [problem.split(": ", 1)[-1] for problem in caught.value.problems] == [sentence]


def test_layers_grow_by_the_decay_of_the_system(folder: Path) -> None:
    weights = [weight for _, weight in style_layers(load(folder, {"preset": "nuffer2016"}))]
    for number, (weight, channels) in enumerate(zip(weights, (64, 128, 256, 512, 512), strict=True)):
        positions = (896 // 2**number) ** 2
        assert weight == pytest.approx(3**number / 121 * positions / channels)
