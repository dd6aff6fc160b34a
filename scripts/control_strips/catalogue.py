"""Which values of which controls are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.control_strips.panels import PAINTING, WIDTH, Panel, Strip
from scripts.control_strips.pictures import Pictures
from tilefarm.spec.presets import PRESETS
from tilefarm.spec.run_names import value_caption


def catalogue(pictures: Pictures, squeezenet: Path | None) -> tuple[Strip, ...]:
    """All strips, in the order of docs/controls.md; that of SqueezeNet only where its weights are given."""
    return (
        *_statistics(),
        *_content(),
        *_networks(squeezenet),
        *_optimizers(),
        *_starts(),
        *_colours(),
        *_styles(pictures),
        _presets(),
    )


def _varied(section: str, key: str, default: str, values: Sequence[Any], title: str = "") -> Strip:
    """A key's default and some other values."""
    panels = (Panel(value_caption(value), {section: {key: value}}) for value in values)
    return Strip(key, title or f"{section}.{key}", (Panel(f"{default} (default)"), *panels))


def _statistics() -> Iterator[Strip]:
    yield _varied("objective", "style_weight", "1", [0.1, 5])
    yield _varied("objective", "style_statistics", "gram", ["mean_std", "remap", "wasserstein"])
    yield Strip(
        "style_layers",
        "objective.style_layers",
        (
            Panel("all five, 1 each (default)"),
            Panel("relu1_1 and relu2_1", {"objective": {"style_layers": {"relu1_1": 1, "relu2_1": 1}}}),
            Panel("relu5_1 alone", {"objective": {"style_layers": {"relu5_1": 1}}}),
        ),
    )
    yield _varied("objective", "style_layer_decay", "1", [0.2, 5])
    yield _varied("objective", "activation_shift", "0", [-100, -1000])
    yield _varied("objective", "normalize_gradients", "false", [True])
    yield _varied("objective", "tv_weight", "0", [100, 500])
    yield Strip(
        "tv_exponent",
        "objective.tv_exponent, with tv_weight as strong each",
        tuple(
            Panel(
                f"{exponent:g}{' (default)' if exponent == 2 else ''}, tv_weight {weight}",
                {"objective": {"tv_exponent": exponent, "tv_weight": weight}},
            )
            for exponent, weight in ((1.0, 100), (2.0, 500), (3.0, 2500))
        ),
    )


def _content() -> Iterator[Strip]:
    yield _varied("objective", "content_weight", "1", [0, 0.1, 10])
    yield Strip(
        "reconstruction",
        "objective.content_weight and style_weight, init: noise",
        (
            Panel("both 1", {"init": "noise"}),
            Panel("content_weight 0: texture", {"init": "noise", "objective": {"content_weight": 0}}),
            Panel("style_weight 0: reconstruction", {"init": "noise", "objective": {"style_weight": 0}}),
        ),
    )
    strong = {"content_weight": 30}
    yield Strip(
        "content_layers",
        "objective.content_layers, with content_weight: 30",
        (
            Panel("relu4_2 (default)", {"objective": strong}),
            Panel("relu2_2", {"objective": {**strong, "content_layers": {"relu2_2": 1}}}),
            Panel("relu5_2", {"objective": {**strong, "content_layers": {"relu5_2": 1}}}),
        ),
    )
    yield Strip(
        "content_blend",
        "objective.content_blend, with content_weight: 30",
        (
            Panel("0, as without it", {"objective": strong}),
            Panel("0.5", {"objective": {**strong, "content_blend": 0.5}}),
            Panel("1", {"objective": {**strong, "content_blend": 1}}),
        ),
    )


def _networks(squeezenet: Path | None) -> Iterator[Strip]:
    if squeezenet is not None:
        settings = {"network": {"name": "squeezenet", "weights": str(squeezenet)}}
        panels = (Panel("vgg19 (default)"), Panel("squeezenet", settings))
        yield Strip("network", "network.name", panels)
    yield _varied("network", "pooling", "max", ["average", "l2"])
    yield _varied("network", "padding", "zeros", ["replicate", "reflect"])


def _optimizers() -> Iterator[Strip]:
    yield Strip(
        "optimizer",
        "optimizer.name, as many steps each",
        (
            Panel("lbfgs (default)"),
            Panel("cg", {"optimizer": {"name": "cg"}}),
            Panel("adam, averaging 0.9", {"optimizer": {"name": "adam", "averaging": 0.9}}),
            Panel(
                "adam, averaging 0.9, step_size 0.1",
                {"optimizer": {"name": "adam", "averaging": 0.9, "step_size": 0.1}},
            ),
        ),
    )


def _starts() -> Iterator[Strip]:
    yield Strip(
        "init",
        "init",
        (
            Panel("content (default)"),
            Panel("noise", {"init": "noise"}),
            Panel("style_statistics", {"init": "style_statistics"}),
            Panel("a picture: the painting", {"init": str(PAINTING)}),
        ),
    )
    yield Strip(
        "init_noise",
        "init_noise",
        (Panel("0 (default)"), *(Panel(str(share), {"init_noise": share}) for share in (0.5, 0.9))),
    )
    yield Strip(
        "seed",
        "seed, with init: noise",
        (Panel("0 (default)", {"init": "noise"}), Panel("1", {"init": "noise", "seed": 1})),
    )


def _colours() -> Iterator[Strip]:
    style = Panel("style (default)")
    after = (Panel(mode, recolored=mode) for mode in ("content_luma", "content_hsv"))
    yield Strip("color", "color", (style, *after, Panel("luminance", {"color": "luminance"})))
    before = (Panel(mode, {"color": mode}) for mode in ("histogram_rgb", "histogram_hsv", "statistics"))
    yield Strip("color_matched", "color", (style, *before))
    yield Strip(
        "color_when",
        "color.when, with color.mode: histogram_rgb",
        (
            Panel("before (default)", {"color": "histogram_rgb"}),
            Panel("after", recolored="histogram_rgb"),
            Panel("every_level", {"color": {"mode": "histogram_rgb", "when": "every_level"}}),
        ),
    )


def _styles(pictures: Pictures) -> Iterator[Strip]:
    first, second = {"image": str(PAINTING)}, {"image": str(pictures.warm)}
    yield Strip(
        "styles",
        "styles.N.weight, of two paintings",
        tuple(
            Panel(f"{weight} and {1 - weight:.2g}", {"styles": [first | {"weight": weight}, other]})
            for weight in (0.8, 0.5, 0.2)
            for other in [second | {"weight": round(1 - weight, 2)}]
        ),
    )
    yield Strip(
        "scale",
        "styles.N.scale",
        (
            Panel("1 (default)"),
            *(Panel(str(scale), {"styles": [first | {"scale": scale}]}) for scale in (0.5, 2)),
        ),
    )
    yield Strip(
        "mask",
        "styles.N.mask",
        (
            Panel("the mask", picture=pictures.cup),
            Panel("blue strokes where it is white", _masked(first, second, pictures.cup)),
            Panel("orange strokes where it is white", _masked(second, first, pictures.cup)),
        ),
    )
    yield Strip(
        "style_mask",
        "styles.N.style_mask",
        (
            Panel("the painting", picture=PAINTING),
            Panel("its mask", picture=pictures.whirl),
            Panel("without it (default)"),
            Panel("with it", {"styles": [first | {"style_mask": str(pictures.whirl)}]}),
        ),
    )


def _presets() -> Strip:
    """More steps than elsewhere: Adam's mean of its iterates is slow, and the weights differ widely."""
    steps = {"pyramid": {"smallest": WIDTH // 2, "iterations": [200, 100]}}
    presets = [Panel(name, {"preset": name, **steps}) for name in PRESETS]
    return Strip("preset", "preset, with as many steps each", (Panel("none (default)", steps), *presets))


def _masked(inside: dict[str, str], outside: dict[str, str], mask: Path) -> dict[str, Any]:
    return {"styles": [inside | {"mask": str(mask)}, outside]}


MATRIX: dict[str, Any] = {
    "matrix": {"objective.style_weight": [0.2, 5], "styles.0.scale": [0.5, 2]},
}
"""The sweep whose contact sheet is shown."""


def making(animation: Path) -> dict[str, Any]:
    """Settings of the run whose way is shown."""
    return {
        "snapshots": {"every": 3},
        "animation": {"path": str(animation), "long_side": 176, "seconds": 3},
    }
