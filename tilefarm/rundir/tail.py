"""Reading a log of lines while another process appends to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

LONGEST = 64 * 2**20
"""Bytes of a line: a level of a hundred thousand steps has a fifth of it."""


class Tail:
    """Whole lines of a file that grows, each once. A file that was replaced or cut is read from its start.

    What is longer than `LONGEST` is no line: there the reading ends, for as long as the file is this one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._is_stuck = False
        self._file_number: int | None = None
        self.restarts = 0
        """How often the file was found to be another one, or shorter than before."""

    def new(self) -> Iterator[bytes]:
        """The lines that were added since the last look, without their ends; none where there is no file."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            number = os.fstat(file.fileno()).st_ino
            replaced = self._file_number not in (None, number)
            if replaced or file.seek(0, os.SEEK_END) < self._position:
                self._position, self._is_stuck = 0, False
                self.restarts += 1
            self._file_number = number
            file.seek(self._position)
            while not self._is_stuck and (line := file.readline(LONGEST)):
                if not line.endswith(b"\n"):
                    self._is_stuck = len(line) == LONGEST
                    return  # it is being written
                self._position += len(line)
                yield line[:-1]
