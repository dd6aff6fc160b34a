"""Paints jobs/strokes.jpg, the demo's style: bristled brush strokes along a field of whirls.

Every stroke follows the flow around a few whirls and takes its colour from how far away the nearest
one is, so that the picture has what style transfer feeds on: strokes at several scales, few colours,
strong local contrast. The same seed paints the same picture.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

WIDTH, HEIGHT, SCALE = 720, 540, 2
PALETTE = np.array(
    [(250, 232, 130), (240, 190, 60), (120, 190, 190), (52, 120, 180), (30, 70, 150), (18, 34, 92)], float
)
WHIRLS = [(130, 110, 80, 1), (420, 170, 130, -1), (630, 80, 60, 1), (260, 390, 110, 1), (590, 400, 100, -1)]
"""x, y, radius in pixels, and the sense in which they turn."""

Vector = NDArray[np.float64]


def flow(point: Vector) -> Vector:
    """The unit direction of strokes at a point (x, y)."""
    direction = np.array([1.0, 0.25 * np.sin(point[0] / 90)])
    for x, y, radius, sense in WHIRLS:
        away = point - (x, y)
        strength = 4 * np.exp(-((away @ away) / (1.6 * radius) ** 2))
        direction += sense * strength * np.array([-away[1], away[0]]) / (np.linalg.norm(away) + 8)
    return np.asarray(direction / np.linalg.norm(direction), dtype=np.float64)


def colour(point: Vector, generator: np.random.Generator) -> Vector:
    """A palette colour, light inside whirls and dark between them, with rings and some chance."""
    nearest = min(np.linalg.norm(point - (x, y)) / radius for x, y, radius, _ in WHIRLS)
    place = 2.1 * nearest + 0.7 * np.sin(9 * nearest) + generator.normal(0, 0.45)
    place = float(np.clip(place, 0, len(PALETTE) - 1.001))
    low = int(place)
    mixed = PALETTE[low] + (place - low) * (PALETTE[low + 1] - PALETTE[low])
    return np.asarray(mixed * generator.normal(1, 0.08), dtype=np.float64)


def stroke(
    draw: ImageDraw.ImageDraw, point: Vector, length: float, width: float, generator: np.random.Generator
) -> None:
    """One stroke of several bristles, each with its own shade."""
    path = [point]
    for _ in range(int(length / 4)):
        path.append(path[-1] + 4 * flow(path[-1]))
    line = np.array(path)
    tangent = np.gradient(line, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    base = colour(point, generator)
    bristles = max(3, round(width * 1.2))
    for offset in generator.permutation(np.linspace(-width / 2, width / 2, bristles)):
        first = generator.integers(0, max(1, len(line) // 4))
        shade = np.clip(base * generator.normal(1, 0.13) + generator.normal(0, 6, 3), 0, 255)
        points = (line[first:] + offset * normal[first:]) * SCALE
        draw.line([(x, y) for x, y in points], fill=tuple(int(v) for v in shade), width=SCALE + 1)


def paint(seed: int = 7) -> Image.Image:
    """The whole picture, from wide strokes to fine ones."""
    generator = np.random.default_rng(seed)
    image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), (24, 44, 104))
    draw = ImageDraw.Draw(image)
    for width, length, count in ((16, 70, 900), (9, 50, 2600), (5, 36, 3600)):
        for _ in range(count):
            point = generator.uniform((-30, -30), (WIDTH + 30, HEIGHT + 30))
            stroke(draw, point, length * generator.uniform(0.6, 1.3), width, generator)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("jobs/strokes.jpg")
    paint().save(target, quality=92, subsampling=0)
