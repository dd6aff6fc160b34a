"""The layers that an objective can name, for `tilefarm doctor --layers`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tilefarm.plan.halo import receptive_field
from tilefarm.spec.layer_defaults import default_layers
from tilefarm.spec.networks import NETWORK_NAMES, channels_of


@dataclass(frozen=True)
class LayerRow:
    """One layer of a network."""

    network: str
    layer: str
    channels: int
    stride: int
    """Pixels between neighbouring positions."""
    halo_before: int
    """Pixels that a piece gets to the left of and above its core where this is the deepest layer."""
    halo_after: int
    """To the right and below."""
    default: str
    """The terms that look at it where the job names no layers: content, style, both or neither."""


def layer_rows() -> Iterator[LayerRow]:
    """All networks' layers, shallow to deep."""
    for network in NETWORK_NAMES:
        for layer, channels in channels_of(network).items():
            field = receptive_field(network, layer)
            terms = [
                key.removesuffix("_layers")
                for key, layers in default_layers(network).items()
                if layer in dict(layers)
            ]
            yield LayerRow(
                network, layer, channels, field.stride, field.halo_before, field.halo_after, ", ".join(terms)
            )


def layer_lines() -> Iterator[str]:
    """The rows as a table of text, a block for each network."""
    network = ""
    for row in layer_rows():
        if row.network != network:
            if network:
                yield ""
            network = row.network
            yield f"{network:10}  channels  stride  halo before  halo after  default for"
        numbers = f"{row.channels:8}  {row.stride:6}  {row.halo_before:11}  {row.halo_after:10}"
        yield f"  {row.layer:8}  {numbers}  {row.default}".rstrip()
