"""`tilefarm doctor --layers`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tilefarm.cli import app
from tilefarm.spec.networks import NETWORK_NAMES, layer_names


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["doctor", "--layers", *arguments])
    assert result.exit_code == 0
    return result.output


def test_every_layer_of_every_network_is_listed() -> None:
    rows = json.loads(printed("--json"))
    assert [(row["network"], row["layer"]) for row in rows] == [
        (network, layer) for network in NETWORK_NAMES for layer in layer_names(network)
    ]
    assert len(rows) == 13 + 16 + 9


@pytest.mark.parametrize(
    ("network", "layer", "numbers"),
    [
        ("vgg19", "relu4_2", [512, 8, 40, 40, "content"]),
        ("vgg16", "relu5_1", [512, 16, 64, 64, "style"]),
        ("squeezenet", "relu1", [64, 2, 0, 2, "style"]),
        ("squeezenet", "fire9", [512, 16, 96, 112, ""]),
        ("squeezenet", "fire7", [384, 16, 64, 80, "content"]),
        ("squeezenet", "fire2", [128, 4, 4, 8, "style"]),
    ],
)
def test_rows_counted_by_hand(network: str, layer: str, numbers: list[int | str]) -> None:
    rows = json.loads(printed("--json"))
    [row] = [row for row in rows if (row["network"], row["layer"]) == (network, layer)]
    assert [row[key] for key in ("channels", "stride", "halo_before", "halo_after", "default")] == numbers


def test_the_table_says_the_same() -> None:
    lines = printed().splitlines()
    assert "  fire9          512      16           96         112" in lines
    assert "  fire7          384      16           64          80  content" in lines
    assert sum(line.startswith("  relu4_1 ") for line in lines) == 2
    assert not any(line.endswith(" ") for line in lines)
