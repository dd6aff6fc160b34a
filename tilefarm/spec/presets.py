"""The published settings of well-known systems, as the keys of a job that they come to.

One table, and the source of every value beside it. The weights of a network, and so the values of a pixel
that it is shown, are not part of a preset: where a system had weights of its own, its entry says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tilefarm.spec.networks import channels_of

PresetName = Literal["gatys2015", "nuffer2016", "neural-style-pt", "spst", "crowsonkb"]

_STYLE_LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))
_CHANNELS = {layer: channels_of("vgg19")[layer] for layer in _STYLE_LAYERS}


@dataclass(frozen=True)
class Preset:
    """What a system does where nobody asks for something else."""

    source: str
    keys: Mapping[str, Any]
    """Of a job; those of a section are a mapping in it. What is not published is left to our defaults."""


def _positions(layer: str, width: int, height: int) -> int:
    """M, the positions of a VGG's layer relu1_1 ... relu5_1 in a picture of this size."""
    halvings = _STYLE_LAYERS.index(layer)
    return (width >> halvings) * (height >> halvings)


_GATYS = Preset(
    "Gatys, Ecker and Bethge 2015, A neural algorithm of artistic style (arXiv 1508.06576)",
    {
        "network": {"pooling": "average"},  # section Methods, which does not rescale it as we do
        "objective": {
            "units": "absolute",
            # Equation 1 is half the sum of squares, which grows with the picture: here that of 512x512,
            # where relu4_2 has 512 channels and 64x64 positions. alpha / beta = 1e-3 (figure 2).
            "content_weight": 1e-3 * 512 * 64 * 64 / 2,
            "content_layers": {"relu4_2": 1.0},
            "style_weight": 1.0,
            # Equation 4 is sum((G - A)^2) / (4 N^2) for Gram matrices divided by M. Equation 5: w_l = 1/5.
            "style_layers": {layer: 1 / (5 * 4 * n**2) for layer, n in _CHANNELS.items()},
            "style_statistics": {"gram": 1.0},
            "tv_weight": 0.0,
        },
        # The authors' code for the paper's successor: 500 iterations at 512 pixels, 200 at a finer scale.
        "pyramid": {"smallest": 512, "iterations": (500, 200)},
        "optimizer": {"name": "lbfgs"},
        "init": "noise",
    },
)

_NUFFER_SIDE = 896
"""Pixels of its tiles, at which its style term, which grows with the picture, is taken."""
_NUFFER = Preset(
    "Nuffer 2016, large_neural_style: the defaults of its command line, and loss.py",
    {
        "network": {"pooling": "average"},
        "objective": {
            "units": "absolute",
            "content_weight": 100.0,  # of the mean square
            "content_layers": {"relu4_2": 1.0},
            "style_weight": 1.0,
            # sum((M G - M A)^2) / (N M), and 3^l / sum(3^l) over the layers.
            "style_layers": {
                layer: _positions(layer, _NUFFER_SIDE, _NUFFER_SIDE) / n / sum(3**power for power in range(5))
                for layer, n in _CHANNELS.items()
            },
            "style_layer_decay": 3.0,
            "style_statistics": {"gram": 1.0},
            # 0.1 * mean((dx^2 + dy^2)^1.25) of values up to 255.
            "tv_weight": 0.1 * 255**2.5,
            "tv_exponent": 2.5,
        },
        # 5 * 100 and 100 steps; the coarsest long side lies between 225 and 448, whose middle is 317.
        "pyramid": {"smallest": 317, "iterations": (500, 100)},
        "tiles": {"size": _NUFFER_SIDE, "rounds": 3, "iterations": 30},
        "optimizer": {"name": "lbfgs", "history": 10},  # scipy's default
        "init": "content",
    },
)

_NEURAL_STYLE_PT = Preset(
    "ProGamerGov 2019, neural-style-pt: the defaults of neural_style.py",
    {
        "network": {"pooling": "max", "padding": "zeros"},
        "objective": {
            "units": "averaged",  # Gram matrices over N M, mean squares of all
            "content_weight": 5.0,
            "content_layers": {"relu4_2": 1.0},
            "style_weight": 100.0,
            "style_layers": dict.fromkeys(_STYLE_LAYERS, 1.0),
            "style_statistics": {"gram": 1.0},
            # 1e-3 times the sum of |differences| of values up to 256, here of a picture of 512x384.
            "tv_weight": 1e-3 * 256 * 3 * 512 * 384,
            "tv_exponent": 1.0,
        },
        # -image_size 512 -num_iterations 1000; 500 and 200 at finer sizes as in starry_stanford_bigger.sh.
        "pyramid": {"smallest": 512, "iterations": (1000, 500, 200)},
        "optimizer": {"name": "lbfgs", "history": 100},
        "init": "noise",
    },
)

_SPST = Preset(
    "Galerne, Raad, Lezama and Morel 2022, Scaling painting style transfer (arXiv 2212.13459): spst.py, fast",
    {
        "network": {"pooling": "max", "padding": "zeros"},
        "objective": {
            "units": "averaged",
            "content_weight": 1.0,
            "content_layers": {"relu4_2": 1.0},
            "style_weight": 1.0,
            "style_layers": dict.fromkeys(_STYLE_LAYERS, 1.0),
            # 1e3 / N^2 of the mean square of G - A; 1e4 of those of means and deviations.
            "style_statistics": {"gram": 1e3, "mean": 1e4, "std": 1e4},
            "tv_weight": 0.0,
        },
        # The coarsest short side lies between 512 and 1023: a long side of about 1024 in usual photographs.
        "pyramid": {"smallest": 1024, "iterations": (600, 200, 66, 30)},
        "optimizer": {"name": "lbfgs", "history": 10},  # 100 at the coarsest scale
        "init": "content",
    },
)

_CROWSONKB = Preset(
    "Crowson 2021, style-transfer-pytorch: the defaults of style_transfer.py",
    {
        "network": {"pooling": "max", "padding": "replicate"},
        "objective": {
            "units": "averaged",
            "content_weight": 0.015,
            "content_layers": {"relu4_2": 1.0},
            "style_weight": 1.0,
            "style_layers": {
                layer: weight / 341 for layer, weight in zip(_STYLE_LAYERS, (256, 64, 16, 4, 1), strict=True)
            },
            "style_statistics": {"wasserstein": 1.0},
            # Its nine-point stencil is the sum of both directions' mean squares where pictures are smooth.
            "tv_weight": 2.0,
            "tv_exponent": 2.0,
        },
        "pyramid": {"smallest": 128, "iterations": (1000, 500)},  # its scales are sqrt(2) apart
        "optimizer": {"name": "adam", "step_size": 0.02, "betas": (0.9, 0.99), "averaging": 0.99},
        "init": "content",
    },
)

PRESETS: dict[PresetName, Preset] = {
    "gatys2015": _GATYS,
    "nuffer2016": _NUFFER,
    "neural-style-pt": _NEURAL_STYLE_PT,
    "spst": _SPST,
    "crowsonkb": _CROWSONKB,
}
