"""The colour profiles that have a name, and the ways of converting to one."""

from __future__ import annotations

from typing import Literal

ProfileName = Literal["srgb", "display-p3", "adobe-rgb"]
PROFILE_NAMES: tuple[ProfileName, ...] = ("srgb", "display-p3", "adobe-rgb")

Intent = Literal["relative", "perceptual", "saturation", "absolute"]
"""What becomes of colours that the profile does not have, and of white: ICC.1:2022, section 6.2."""
