from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from tilefarm.errors import JobError, ResourceError
from tilefarm.solve import backend
from tilefarm.solve.backend import convolution_seconds, fast_precision, make_network, resolve_device
from tilefarm.solve.contract import SolverSettings, Weights


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int, capability: tuple[int, int] = (9, 0)) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


def test_auto_takes_the_gpu_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 0)
    assert resolve_device("auto") == "cpu"
    pretend_gpus(monkeypatch, 2)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("cuda:1") == "cuda:1"


@pytest.mark.parametrize(("name", "count"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_missing_gpu_is_a_sentence(name: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, count)
    with pytest.raises(ResourceError, match=f"is {name}, but torch sees {count} CUDA GPUs"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_an_unknown_device_is_a_sentence(name: str) -> None:
    with pytest.raises(JobError, match=r"compute\.device must be"):
        resolve_device(name)


def pretend_speed(monkeypatch: pytest.MonkeyPatch, gain: float) -> None:
    """bfloat16 is so many times as fast as float32."""
    seconds = {"float32": 1.0, "bfloat16": 1.0 / gain}
    monkeypatch.setattr(backend, "convolution_seconds", seconds.get)


def test_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_speed(monkeypatch, 2.0)
    for flags, wanted in (
        ({"avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bfloat16"),
        ({"avx512_bf16": False, "avx2": True}, "float32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags, raising=False)
        assert fast_precision("cpu") == wanted
    pretend_gpus(monkeypatch, 1, (7, 5))
    assert fast_precision("cuda") == "float32"
    pretend_gpus(monkeypatch, 1, (8, 0))
    assert fast_precision("cuda:0") == "bfloat16"


def test_precision_follows_what_is_really_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    for gain, wanted in ((0.5, "float32"), (1.1, "float32"), (1.9, "bfloat16")):
        pretend_speed(monkeypatch, gain)
        assert fast_precision("cpu") == wanted


def test_other_programs_may_disturb_some_of_the_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    seconds = {"float32": iter([9.0, 2.0, 7.0, 3.0]), "bfloat16": iter([5.0, 9.0, 1.0, 6.0])}
    monkeypatch.setattr(backend, "convolution_seconds", lambda precision: next(seconds[precision]))
    assert fast_precision("cpu") == "bfloat16", "2 to 1 at their best"


def test_a_convolution_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 9.0, 9.0, 12.0, 12.0, 14.0, 14.0, 18.0, 18.0, 23.0])
    monkeypatch.setattr(backend, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert convolution_seconds("bfloat16") == 2.0, "the shortest but for the first"


def test_the_network_is_built_as_the_settings_say(
    random_weights: Callable[[str], Weights], settings: Callable[..., SolverSettings]
) -> None:
    chosen = settings(
        precision="bfloat16",
        style_layers=(("relu1_1", 1.0), ("relu5_1", 0.0)),
        content_layers=(("relu2_1", 1.0),),
    )
    network = make_network(chosen, random_weights("vgg19"), "cpu")
    picture = torch.zeros(1, 3, 16, 16)
    assert network.features(picture, ["relu2_1"])["relu2_1"].dtype == torch.bfloat16
    with pytest.raises(ValueError, match="relu5_1"):
        network.features(picture, ["relu5_1"])
