"""The model's rules, without a job file around them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tilefarm.spec.model import Compute, Job, Network, Objective, Pyramid, Style, Tiles
from tilefarm.spec.networks import layer_names
from tilefarm.spec.section import Section


def minimal(**changes: Any) -> dict[str, Any]:
    return {"name": "a", "content": "a.jpg", "style": "b.jpg", "output": {"path": "c.tif"}} | changes


def mistakes(section: type[Section], data: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        section.model_validate(data)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in caught.value.errors()]


def test_defaults_are_those_of_the_design() -> None:
    job = Job.model_validate(minimal())
    assert job.styles == (Style(image=Path("b.jpg"), weight=1.0, scale=1.0),)
    assert (job.method, job.init, job.seed) == ("exact", "content", 0)
    assert (job.network.name, job.network.weights, job.network.pooling) == ("vgg19", "bundled", "max")
    assert job.network.preprocessing is None
    assert (job.objective.content_weight, job.objective.style_weight, job.objective.tv_weight) == (1, 1, 0)
    assert job.objective.content_layers == (("relu4_2", 1.0),)
    assert [name for name, _ in job.objective.style_layers] == [f"relu{i}_1" for i in (1, 2, 3, 4, 5)]
    assert (job.tiles.size, job.tiles.rounds, job.tiles.iterations, job.tiles.batch) == (
        "auto",
        3,
        30,
        "auto",
    )
    assert job.tiles.side == 512
    assert (job.optimizer.name, job.optimizer.history) == ("lbfgs", 20)
    assert (job.compute.device, job.compute.precision, job.compute.workers, job.compute.memory) == (
        "auto",
    ) * 4


def test_last_iterations_repeat() -> None:
    pyramid = Pyramid()
    assert [pyramid.iterations_at(level) for level in range(8)] == [300, 200, 100, 50, 25, 15, 15, 15]


def test_models_are_immutable_and_hashable() -> None:
    job = Job.model_validate(minimal())
    with pytest.raises(ValidationError, match="frozen"):
        job.seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        job.objective.tv_weight = 3.0
    assert hash(job) == hash(Job.model_validate(minimal()))


def test_layers_come_in_network_order_whatever_the_order_of_the_file() -> None:
    names = layer_names("vgg19")
    objective = Objective.model_validate({"style_layers": dict.fromkeys(reversed(names), 1.0)})
    assert tuple(name for name, _ in objective.style_layers) == names


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 * 2**30),
        ("512MiB", 512 * 2**20),
        ("16GB", 16 * 10**9),
        ("1.5 kib", 1536),
        ("2TB", 2 * 10**12),
        (123456, 123456),
        ("auto", "auto"),
    ],
)
def test_memory_in_bytes(text: object, size: object) -> None:
    assert Compute.model_validate({"memory": text}).memory == size


@pytest.mark.parametrize("value", ["8G", "GiB", "-1GiB", "0GiB", 0, -5, True, 1.5, None, 2**63, "9999999TiB"])
def test_memory_refuses(value: object) -> None:
    [(place, message)] = mistakes(Compute, {"memory": value})
    assert place == "memory"
    assert "a size such as 8GiB" in message


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_devices(device: str) -> None:
    assert Compute.model_validate({"device": device}).device == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:01", "cpu\n", 0, None])
def test_unknown_devices(device: object) -> None:
    assert [place for place, _ in mistakes(Compute, {"device": device})] == ["device"]


@pytest.mark.parametrize("name", ["a", "_a", "A.b-c_9", "9", "x" * 80])
def test_names(name: str) -> None:
    assert Job.model_validate(minimal(name=name)).name == name


@pytest.mark.parametrize("name", ["", ".a", "..", "-a", "a b", "a/b", "ä", "a\n", "x" * 81, 5, None, True])
def test_bad_names(name: object) -> None:
    assert [place for place, _ in mistakes(Job, minimal(name=name))] == ["name"]


@settings(deadline=None)
@given(st.integers(0, 5000))
def test_tile_sizes_are_multiples_of_16_and_the_nearest_are_named(size: int) -> None:
    if size % 16 == 0 and 64 <= size <= 4096:
        assert Tiles(size=size).size == size
        return
    [(_, message)] = mistakes(Tiles, {"size": size})
    if 64 <= size <= 4096:
        below, above = size - size % 16, size - size % 16 + 16
        assert message.endswith(f"must be a multiple of 16, got {size}; the nearest are {below} and {above}")


@pytest.mark.parametrize(
    ("section", "key", "good", "bad"),
    [
        (Tiles, "rounds", [1, 100], [0, 101, 1.0, "3", True, None]),
        (Tiles, "iterations", [1, 10_000], [0, 10_001, "1e3"]),
        (Tiles, "batch", [1, 256, "auto"], [0, 257, "4", True, 2.0]),
        (Pyramid, "smallest", [64, 2048], [63, 2049, 100.5]),
        (
            Pyramid,
            "iterations",
            [[1], [100_000] * 20],
            [[], [0], [1] * 21, [100_001], [True], ["5"], 5, "55"],
        ),
        (Compute, "workers", [1, 4096, "auto"], [0, 4097, "many"]),
        (Compute, "precision", ["auto", "float32", "bfloat16", "float16"], ["fp16", 32]),
        (Compute, "transport", ["auto", "float32", "packed", "half"], ["float16", 16]),
        (Objective, "style_target", ["whole", "crop"], ["centre"]),
        (
            Objective,
            "tv_weight",
            [0, 5, 0.5, "1e3"],
            [-0.1, float("nan"), float("inf"), 10**400, "3", "1e999", True],
        ),
        (Network, "pooling", ["max", "average", "l2"], ["avg"]),
        (Network, "padding", ["zeros", "replicate", "reflect"], ["same", 1]),
    ],
)
def test_ranges_and_types(section: Any, key: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        section.model_validate({key: value})
    for value in bad:
        assert mistakes(section, {key: value}), value


def test_an_unknown_precision_is_answered_with_those_there_are() -> None:
    [(place, message)] = mistakes(Compute, {"precision": "fp16"})
    assert place == "precision"
    for precision in ("auto", "float32", "bfloat16", "float16"):
        assert f"'{precision}'" in message


def test_texts_with_an_exponent_are_numbers() -> None:
    assert Objective.model_validate({"content_weight": "1e3", "tv_weight": "2.5E-2"}).content_weight == 1000
    assert Objective.model_validate({"content_layers": {"relu4_2": "1e1"}}).content_layers == (
        ("relu4_2", 10.0),
    )


@pytest.mark.parametrize("value", [{"weight": 0}, {"weight": -1}, {"scale": 0.04}, {"scale": 8.1}])
def test_style_ranges(value: dict[str, float]) -> None:
    [(place, _)] = mistakes(Style, {"image": "a.jpg", **value})
    assert place == next(iter(value))


def test_one_style_or_several_but_not_both() -> None:
    several = [{"image": "a.jpg"}, {"image": "b.jpg", "weight": 2}]
    job = Job.model_validate({key: value for key, value in minimal(styles=several).items() if key != "style"})
    assert [style.weight for style in job.styles] == [1.0, 2.0]
    assert [place for place, _ in mistakes(Job, minimal(styles=several))] == ["style"]
    neither = {key: value for key, value in minimal().items() if key != "style"}
    assert [place for place, _ in mistakes(Job, neither)] == ["styles"]
    for count in (0, 17):
        many = neither | {"styles": [{"image": "a.jpg"}] * count}
        assert [place for place, _ in mistakes(Job, many)] == ["styles"]


@pytest.mark.parametrize(
    ("network", "bad"),
    [
        ({"name": "vgg16"}, ["weights"]),
        ({"name": "vgg16", "weights": "bundled"}, ["weights"]),
        ({"name": "vgg16", "weights": "torchvision"}, []),
        ({"name": "vgg16", "weights": "w.pth"}, []),
        ({"weights": "w.SafeTensors", "preprocessing": "caffe"}, []),
        ({"weights": "w.npz"}, ["weights"]),
        ({"weights": 5}, ["weights"]),
        ({"preprocessing": "caffe"}, ["preprocessing"]),
        ({"weights": "torchvision", "preprocessing": "torchvision"}, ["preprocessing"]),
        ({"name": "vgg16", "preprocessing": "caffe"}, ["weights", "preprocessing"]),
    ],
)
def test_weights_and_preprocessing(network: dict[str, object], bad: list[str]) -> None:
    if not bad:
        weights = Network.model_validate(network).weights
        assert isinstance(weights, Path) == str(weights).startswith("w.")
        return
    assert [place for place, _ in mistakes(Network, network)] == bad


def test_weights_path_without_preprocessing_leaves_it_open() -> None:
    assert Network.model_validate({"weights": "a/w.pt"}).preprocessing is None


@pytest.mark.parametrize(
    "layers", [{}, {"relu1_1": 0}, {"relu1_1": -1}, {"relu1_1": "3"}, [], None, "relu1_1"]
)
@pytest.mark.parametrize("key", ["content_layers", "style_layers"])
def test_bad_layer_weights(key: str, layers: object) -> None:
    [(place, _)] = mistakes(Objective, {key: layers})
    assert place.startswith(key)


def test_at_most_16_layers() -> None:
    layers = dict.fromkeys(layer_names("vgg19"), 1.0)
    assert len(Objective.model_validate({"style_layers": layers}).style_layers) == 16
    [(_, message)] = mistakes(Objective, {"style_layers": layers | {"relu6_1": 1.0}})
    assert "1 to 16 layers, got 17" in message


def test_layers_must_exist_in_the_chosen_network() -> None:
    objective = {"content_layers": {"relu4_4": 1}, "tv_weight": 0.5}
    Job.model_validate(minimal(objective=objective))
    other = minimal(objective=objective, network={"name": "vgg16", "weights": "torchvision"})
    assert [place for place, _ in mistakes(Job, other)] == ["objective.content_layers.relu4_4"]


def test_layers_are_also_checked_in_finished_models() -> None:
    parts = {
        "objective": Objective.model_validate({"style_layers": {"relu3_4": 1}}),
        "network": Network(name="vgg16", weights="torchvision"),
    }
    [(place, _)] = mistakes(Job, minimal(**parts))
    assert place == "objective.style_layers.relu3_4"


def test_an_objective_needs_an_aim() -> None:
    Objective(content_weight=0)
    Objective(style_weight=0)
    [(_, message)] = mistakes(Objective, {"content_weight": 0, "style_weight": 0})
    assert "must not both be 0" in message


def test_joined_rules_are_told_beside_other_mistakes_of_the_same_section() -> None:
    network = {"name": "vgg16", "weights": "torchvision", "pooling": "min"}
    objective = {"content_layers": {"relu4_4": 1}, "tv_weight": -1}
    found = mistakes(Job, minimal(network=network, objective=objective, seed=-1))
    assert {place for place, _ in found} == {
        "network.pooling",
        "objective.content_layers.relu4_4",
        "objective.tv_weight",
        "seed",
    }


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_seeds(seed: int) -> None:
    assert Job.model_validate(minimal(seed=seed)).seed == seed
    assert mistakes(Job, minimal(seed=-1 - seed))
    assert mistakes(Job, minimal(seed=2**63 + seed))


def test_long_texts_are_refused_quickly() -> None:
    started = time.monotonic()
    [(_, message)] = mistakes(Objective, {"tv_weight": "9" * 200_000})
    assert "valid number" in message
    assert time.monotonic() - started < 5  # a pattern that tries every split of the digits takes minutes


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        ("gram", (("gram", 1.0),)),
        ("mean_std", (("mean", 1.0), ("std", 1.0))),
        ("gram_mean_std", (("gram", 1.0), ("mean", 1.0), ("std", 1.0))),
        ({"wasserstein": 2, "gram": 0}, (("wasserstein", 2.0),)),
        ({"remap": 0.5, "gram": 1}, (("gram", 1.0), ("remap", 0.5))),
    ],
)
def test_statistics_are_named_or_weighted(written: Any, resolved: Any) -> None:
    assert Objective.model_validate({"style_statistics": written}).style_statistics == resolved


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("grams", "did you mean 'gram'?"),
        ({"gram": -1}, "must be gram"),
        ({"gram": 0}, "only zeros"),
        ({"grm": 1}, "did you mean 'gram'?"),
        ([1], "must be gram"),
        (None, "got nothing"),
    ],
)
def test_mistaken_statistics_are_told(written: Any, said: str) -> None:
    ((place, sentence),) = mistakes(Job, minimal(objective={"style_statistics": written}))
    assert place == "objective.style_statistics"
    assert said in sentence


def test_keys_of_the_objective_that_exclude_each_other() -> None:
    both = {"content_blend": 0.5, "content_layers": {"relu3_1": 1}}
    assert [place for place, _ in mistakes(Job, minimal(objective=both))] == ["objective.content_blend"]
    shifted = {"activation_shift": -1, "style_statistics": "mean"}
    assert [place for place, _ in mistakes(Job, minimal(objective=shifted))] == ["objective.activation_shift"]
    Job.model_validate(minimal(objective={"content_blend": 0.5, "content_layers": {"relu4_2": 1.0}}))
    Job.model_validate(
        minimal(objective={"activation_shift": -1, "style_statistics": {"gram": 1, "mean": 1}})
    )


def test_conjugate_gradients_need_the_loss_s_gradient() -> None:
    both = minimal(objective={"normalize_gradients": True}, optimizer={"name": "cg"})
    assert [place for place, _ in mistakes(Job, both)] == ["objective.normalize_gradients"]
    Job.model_validate(minimal(objective={"normalize_gradients": True}, optimizer={"name": "adam"}))
