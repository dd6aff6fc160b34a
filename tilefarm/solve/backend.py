"""Where and how exactly to compute: the device, the fastest safe precision, the network on it."""

from __future__ import annotations

import time

import torch

from tilefarm.errors import JobError, ResourceError
from tilefarm.solve.contract import Precision, SolverSettings, Weights
from tilefarm.solve.network import FeatureNetwork
from tilefarm.solve.objective import active

DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_BFLOAT16_CAPABILITY = (8, 0)
"""NVIDIA's Ampere, the first generation with bfloat16 arithmetic."""


_WORTHWHILE_GAIN = 1.2
"""Of speed: for less, bfloat16's rounding is not accepted."""
_TIMED_RUNS = 4
_TURNS = 4
"""In which both are timed: other programs may disturb some of them."""


def resolve_device(name: str) -> str:
    """The torch device for `name`: auto, cpu, cuda or cuda:N; auto is cuda where there is one, else cpu.

    Raises ResourceError for a GPU that this machine does not have and JobError for another name.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()) or name.endswith(":"):
        raise JobError(f"compute.device must be auto, cpu, cuda or cuda:N, got {name!r}")
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= present:
        raise ResourceError(
            f"compute.device is {name}, but torch sees {present} CUDA GPUs on this machine: "
            "set compute.device to auto or cpu, or install a driver and a torch build that fit the GPU"
        )
    return name


def fast_precision(device: str) -> Precision:
    """The precision that `auto` stands for on a resolved device, found in well under two seconds.

    bfloat16 on CUDA GPUs from Ampere on, and on CPUs that multiply it (AVX512-BF16 or AMX) where a
    convolution really runs faster in it with torch's present number of threads; elsewhere float32.
    Never float16, whose range a network other than the measured ones may leave: a job has to name it.
    """
    if device.startswith("cuda"):
        fast = torch.cuda.get_device_capability(device) >= _BFLOAT16_CAPABILITY
        return "bfloat16" if fast else "float32"
    if not _cpu_multiplies_bfloat16():  # emulated, it would be slower
        return "float32"
    turns = [(convolution_seconds("float32"), convolution_seconds("bfloat16")) for _ in range(_TURNS)]
    exact, low = (min(seconds) for seconds in zip(*turns, strict=True))
    return "bfloat16" if exact / low >= _WORTHWHILE_GAIN else "float32"


def convolution_seconds(precision: Precision) -> float:
    """One of VGG's convolutions on the CPU, 64 to 64 channels on 256x256: the shortest of a few runs."""
    with torch.no_grad():
        picture, weight = (
            torch.ones(shape, dtype=DTYPES[precision]).to(memory_format=torch.channels_last)
            for shape in ((1, 64, 256, 256), (64, 64, 3, 3))
        )
        times = []
        for _ in range(1 + _TIMED_RUNS):  # the first one also loads code and chooses kernels
            begin = time.perf_counter()
            torch.nn.functional.conv2d(picture, weight, padding=1)
            times.append(time.perf_counter() - begin)
    return min(times[1:])


def make_network(settings: SolverSettings, weights: Weights, device: str) -> FeatureNetwork:
    """The network of a job on a resolved device, built up to its deepest layer with a weight other than 0.

    On CUDA this also sets, for the whole process, what makes results repeatable and float32 what it
    says: no TF32, and only deterministic convolution algorithms.
    """
    if device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    layers = set(active(settings.style_layers)) | set(active(settings.content_layers))
    return FeatureNetwork(
        settings.network,
        weights,
        layers,
        pooling=settings.pooling,
        padding=settings.padding,
        dtype=DTYPES[settings.precision],
        device=device,
    )


def _cpu_multiplies_bfloat16() -> bool:
    """False also where torch is too old (before 2.10 or so) to tell."""
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
