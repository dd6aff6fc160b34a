"""Rules that join several sections of a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tilefarm.spec.networks import NETWORK_NAMES, layer_names
from tilefarm.spec.paths import NAMED_WEIGHTS, found_path, same_file, to_path
from tilefarm.spec.section import Conflict, written
from tilefarm.spec.values import did_you_mean


def unknown_layers(given: Mapping[str, Any]) -> Iterator[Conflict]:
    """The layers of the objective must be the network's."""
    network = written(given.get("network"), "name") or "vgg19"
    if network not in NETWORK_NAMES:
        return  # told by the network's own rule; which layers it has cannot be known
    known = layer_names(network)
    if written(given.get("objective"), "content_blend") is not None and "relu5_2" not in known:
        yield Conflict(
            ("objective", "content_blend"),
            f"goes from relu4_2 to relu5_2, which {network} does not have; give content_layers instead",
        )
    for key in ("content_layers", "style_layers"):
        layers = written(given.get("objective"), key)
        names = dict(layers) if isinstance(layers, Mapping | tuple) else {}
        for name in names:
            if name not in known:
                advice = did_you_mean(name, known) or f"; it has {', '.join(known)}"
                yield Conflict(("objective", key, str(name)), f"is not a layer of {network}{advice}")


def unfollowable_gradients(given: Mapping[str, Any]) -> Iterator[Conflict]:
    """Conjugate gradients judge steps by the loss, which normalized gradients do not belong to."""
    normalized = written(given.get("objective"), "normalize_gradients") is True
    if normalized and written(given.get("optimizer"), "name") == "cg":
        yield Conflict(
            ("objective", "normalize_gradients"),
            "does not go together with optimizer.name cg, which needs the loss's own gradient; "
            "choose lbfgs or adam",
        )


def overwritten_inputs(given: Mapping[str, Any], folder: Path) -> Iterator[Conflict]:
    """The output and the animation must not replace the content, a style, the weights or each other."""
    output = _path_or_none(written(given.get("output"), "path"), folder)
    animation = given.get("animation")
    shown = animation if isinstance(animation, str | Path) else written(animation, "path")
    targets = {"output": output, "animation": _path_or_none(shown, folder)}
    styles = given.get("styles")
    inputs = {
        "content": given.get("content"),
        "style": given.get("style"),
        "network.weights": written(given.get("network"), "weights"),
        "init": given.get("init"),
        "output.profile": written(given.get("output"), "profile"),
    }
    if isinstance(styles, list | tuple):
        for key in ("image", "mask", "style_mask"):
            inputs |= {f"styles.{i}.{key}": written(style, key) for i, style in enumerate(styles)}
    paths = {key: _path_or_none(value, folder) for key, value in inputs.items()}
    for section, target in targets.items():
        others = paths if section == "output" else paths | {"output.path": output}
        for key, path in others.items():
            if target is not None and path is not None and same_file(target, path):
                yield Conflict(
                    (section, "path"),
                    f"would overwrite {key}, {found_path(path)}; choose another file",
                )


def _path_or_none(value: Any, folder: Path) -> Path | None:
    if value is None or (isinstance(value, str) and value in NAMED_WEIGHTS):
        return None
    try:
        return to_path(value, folder)
    except ValueError:
        return None  # told by the path's own rule
