"""How pictures travel between the driver and the workers of the exact method."""

from __future__ import annotations

from typing import Literal

Transport = Literal["auto", "float32", "packed", "half"]
"""float32: as they are; packed: without loss, about a sixth less; half: two bytes a value. `auto` is one of
the first two, and never `half`: the picture would depend on the farm."""
