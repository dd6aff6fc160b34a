"""The jobs that are rendered: small ones, for a stand-in worker or for the real network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

_PICTURES = "content: content.png\nstyle: style.png\noutput: {path: out.tif}\ncompute: {precision: float32}\n"
_LAYERS = "objective: {content_layers: {relu2_2: 1}, style_layers: {relu1_1: 1, relu2_1: 1}, tv_weight: 1}\n"
_EXACT = (
    _PICTURES + _LAYERS + "method: exact\npyramid: {smallest: 64, iterations: [4, 3]}\ntiles: {size: 64}\n"
)
_FEATHERED = _PICTURES + _LAYERS + "method: feathered\npyramid: {smallest: 64, iterations: [4]}\n"
_TILES = "tiles: {size: 64, rounds: 2, iterations: 2}\n"
_FILM = "snapshots: {every: 2, long_side: 64}\nanimation: {path: film.gif, long_side: 64, seconds: 1}\n"

VARIANTS = {
    "feathered": _FEATHERED + _TILES,
    "feathered-plain": _FEATHERED + _TILES.replace("}", ", drift_correction: false}"),
    "feathered-adam": _FEATHERED + _TILES + "optimizer: {name: adam}\n",
    "feathered-film": _FEATHERED + _TILES + _FILM,
    "exact": _EXACT + "optimizer: {name: lbfgs, history: 3}\n",
    "exact-adam": _EXACT + "optimizer: {name: adam}\n",
    "exact-cg": _EXACT + "optimizer: {name: cg}\n",
    "exact-film": _EXACT + _FILM,
}
"""Job files by name; a name begins with its method."""
_SIZE = (128, 96)


def variants(method: str) -> list[str]:
    """The names of a method's jobs; of all for `both`."""
    return [name for name in VARIANTS if method == "both" or name.startswith(method)]


def write_job(folder: Path, variant: str) -> Path:
    """Pictures and job file in a folder of their own. The same bytes every time."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(4)
    for name, (width, height) in (("content.png", _SIZE), ("style.png", (60, 40))):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    path = folder / "job.yaml"
    path.write_text(VARIANTS[variant], encoding="utf-8")
    return path
