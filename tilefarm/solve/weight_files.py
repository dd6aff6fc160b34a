"""Reading parameters from a file that somebody else wrote, without running anything in it."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # only to catch it: torch raises it for what it refuses to load
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from tilefarm.errors import JobError
from tilefarm.solve.contract import Preprocessing
from tilefarm.spec.networks import NETWORK_NAMES, convolutions

Naming = Literal["features", "conv"]

_ARCHIVE = b"PK\x03\x04"
"""How a zip archive begins; torch, too, tells its two forms of .pth files apart by it."""
_SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclass(frozen=True)
class WeightFile:
    """What a file holds, under the names conv1_1.weight, conv1_1.bias ..."""

    arrays: dict[str, NDArray[np.generic]]
    naming: Naming
    """How the file named them: features.0.weight, or conv1_1.weight (conv1.weight for SqueezeNet)."""
    preprocessing: Preprocessing | None
    """What the file's metadata says, if anything."""


def read_weight_file(path: Path, network: str) -> WeightFile:
    """The parameters of `network` in the file; those that it lacks are absent, others are left unread.

    Raises JobError for a file that is missing, is no weights file, carries code, has neither naming, or
    holds another network.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise JobError(
            f"network.weights must be bundled, torchvision or a file ending in {', '.join(_SUFFIXES)}, "
            f"got {path}"
        )
    if not path.is_file():
        raise JobError(f"the weights file {path} does not exist: check network.weights")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path, network)
    return _read_torch(path, network)


def _read_safetensors(path: Path, network: str) -> WeightFile:
    try:
        with safe_open(path, framework="numpy") as file:
            found, metadata = set(file.keys()), file.metadata() or {}
            naming = _naming(found, network, path)
            arrays = _renamed(network, naming, found, file.get_tensor)
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: a dtype that numpy lacks
        raise JobError(_unreadable(path, first_line(error))) from error
    return WeightFile(arrays, naming, _stated_preprocessing(metadata, path))


def _read_torch(path: Path, network: str) -> WeightFile:
    import torch

    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd pickles, which are then read or refused
            state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # Torch's own text is not shown: it tells the reader how to load the file unsafely.
        if "GLOBAL" in str(error):
            raise JobError(
                f"the weights file {path} carries code, which tilefarm never runs: "
                "save a plain state_dict, or convert it to .safetensors where you trust it"
            ) from error
        raise JobError(_unreadable(path, "it is not a pickled state_dict")) from error
    except Exception as error:  # damaged pickles make torch raise whatever its own code stumbles over
        raise JobError(_unreadable(path, first_line(error))) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise JobError(f"the weights file {path} must hold a state_dict, a mapping of names to tensors")
    found = {str(name) for name in state}
    naming = _naming(found, network, path)
    return WeightFile(_renamed(network, naming, found, lambda name: state[name].numpy()), naming, None)


def _check_archive(path: Path) -> None:
    """A .pth file is a zip archive whose parts are stored as they are: one that grows is a bomb.

    Files in the older form are no archive; what they claim to hold, torch compares with what there is.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(_ARCHIVE)) != _ARCHIVE:
                return
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise JobError(_unreadable(path, first_line(error))) from error
    if unpacked > path.stat().st_size:
        raise JobError(
            f"the weights file {path} must hold its parts uncompressed, as torch writes them, but its "
            f"{path.stat().st_size} bytes would unpack to {unpacked}: save it with torch.save"
        )


def _naming(found: set[str], network: str, path: Path) -> Naming:
    """How the file names its parameters; JobError where they are complete for another network alone."""
    for naming in get_args(Naming):
        complete = [each for each in NETWORK_NAMES if found.issuperset(_their_names(each, naming).values())]
        # A file of VGG-19 holds all names of VGG-16 too where they tell the blocks: the last one counts.
        if complete and complete[-1] != network:
            raise JobError(
                f"the weights file {path} holds {complete[-1]}, and network.name is {network}: "
                f"set network.name to {complete[-1]}, or give a file of {network}"
            )
        first = next(iter(_their_names(network, naming).values()))
        if complete or first in found:
            return cast(Naming, naming)
    shown = ", ".join(sorted(found)[:3]) or "nothing"
    ours, theirs = (next(iter(_their_names(network, naming).values())) for naming in ("conv", "features"))
    raise JobError(
        f"the parameters in the weights file {path} must be called {theirs} ... or {ours} ..., "
        f"got {shown}: rename them"
    )


def _their_names(network: str, naming: Naming) -> dict[str, str]:
    """Our name of every parameter of a network, with the file's."""
    return {
        f"{part.name}.{kind}": f"{part.name if naming == 'conv' else part.torchvision_name}.{kind}"
        for part in convolutions(network)
        for kind in ("weight", "bias")
    }


def _renamed(
    network: str, naming: Naming, found: Iterable[str], read: Callable[[str], NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    present = set(found)
    return {ours: read(name) for ours, name in _their_names(network, naming).items() if name in present}


def _stated_preprocessing(metadata: dict[str, str], path: Path) -> Preprocessing | None:
    stated = metadata.get("preprocessing")
    if stated is None:
        return None
    for known in get_args(Preprocessing):
        if stated == known:
            return cast(Preprocessing, known)
    raise JobError(
        f"the metadata key preprocessing of the weights file {path} must be caffe or torchvision, "
        f"got {stated!r}"
    )


def first_line(error: Exception) -> str:
    """What went wrong, short enough for the middle of a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _unreadable(path: Path, reason: str) -> str:
    return (
        f"the weights file {path} cannot be read ({reason}): it is damaged or not a weights file, "
        "give another one in network.weights"
    )
