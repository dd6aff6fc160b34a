"""The hash that tells one set of weights from another, whatever file it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def weights_sha256(arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """The SHA-256 over each parameter's name, shape and little-endian float32 bytes, in the given order."""
    digest = hashlib.sha256()
    for name, values in arrays.items():
        digest.update(f"{name} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values, dtype="<f4").data)
    return digest.hexdigest()
