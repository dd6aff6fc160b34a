"""One picture in every form that people have: each must give the pixels that were stored, upright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.picture_files import FORMS, HEIGHT, WIDTH, Form, encoded
from tilefarm.geometry import Box, Size
from tilefarm.image.decode import check_decodes, inspect, open_srgb
from tilefarm.image.resize import write_content
from tilefarm.image.window import open_raw

SIZE = Size(WIDTH, HEIGHT)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_stored_pixels(tmp_path: Path, form: Form) -> None:
    path = tmp_path / form.name
    path.write_bytes(encoded()[form.name])
    info = inspect(path, "content")
    check_decodes(info)
    assert info.size == SIZE
    assert len(info.notes) == len(form.notes)
    assert all(word in note for word, note in zip(form.notes, info.notes, strict=True))
    np.testing.assert_allclose(open_srgb(info).numpy(), form.expected(), atol=form.tolerance)
    # What a render reads: streamed into a canvas, turned on the way.
    write_content(info, Box.of(SIZE), SIZE, tmp_path / "canvas.raw")
    found = np.array(open_raw(tmp_path / "canvas.raw", SIZE))
    np.testing.assert_allclose(found, form.expected(), atol=form.tolerance)
