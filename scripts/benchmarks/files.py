"""Time and peak memory of writing a finished canvas in each form of file, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scripts.benchmarks.context import Bench
from scripts.benchmarks.report import Record, Row
from tilefarm.execute.process import peak_rss
from tilefarm.files import reserve
from tilefarm.geometry import Size
from tilefarm.image.window import open_raw, raw_bytes
from tilefarm.output.check_target import check_target
from tilefarm.output.write import write_output
from tilefarm.output.zstd_tiff import missing_zstd
from tilefarm.spec.file_form import FileForm

DPI = 300
FORMS: dict[str, FileForm] = {
    "TIFF 16 bits, deflate": FileForm("tiff", 16, DPI),
    "TIFF 16 bits, deflate, pyramid": FileForm("tiff", 16, DPI, pyramid=True),
    "TIFF 16 bits, LZW": FileForm("tiff", 16, DPI, compression="lzw"),
    "TIFF 16 bits, not compressed": FileForm("tiff", 16, DPI, compression="none"),
    "TIFF 8 bits, LZW, strips, dithered": FileForm(
        "tiff", 8, DPI, compression="lzw", tiled=False, dither=True
    ),
    "TIFF 8 bits, Adobe RGB, dithered": FileForm("tiff", 8, DPI, profile="adobe-rgb", dither=True),
    "TIFF 16 bits, zstd": FileForm("tiff", 16, DPI, compression="zstd"),
    "PNG 8 bits, dithered": FileForm("png", 8, DPI, dither=True),
    "PNG 16 bits": FileForm("png", 16, DPI),
    "JPEG": FileForm("jpeg", 8, DPI, dither=True),
}
"""WebP is missing: no side of it may have more than 16,383 pixels, and its encoder holds the picture."""
_ROOT = Path(__file__).resolve().parents[2]
_BAND = 512


@dataclass(frozen=True)
class Written(Record):
    """One file."""

    form: str
    width: int
    height: int
    seconds: float
    """To write it, and to reopen and check it."""
    processor_seconds: float
    """Of all threads."""
    extra_bytes: int
    """Of memory: the largest resident size over that before."""
    file_bytes: int

    def rows(self) -> list[Row]:
        """Time, with memory and the file's size in the note."""
        note = f"{self.processor_seconds:.0f} s of processor, "
        note += f"{self.extra_bytes / 2**20:.0f} MiB of memory, a file of {self.file_bytes / 2**20:.0f} MiB"
        return [Row(f"{self.width}x{self.height} {self.form}", self.seconds, "s", note)]


def measure_files(bench: Bench) -> list[Written]:
    """Every form that can be written here."""
    canvas = bench.folder / "canvas.f32"
    make_canvas(canvas, bench.scale.file)
    forms = [name for name, form in FORMS.items() if form.compression != "zstd" or missing_zstd() is None]
    try:
        return [in_fresh_process(canvas, bench.scale.file, name) for name in forms[: bench.scale.forms]]
    finally:
        canvas.unlink()


def make_canvas(path: Path, size: Size) -> None:
    """Waves with some grain, band by band; a band's grain comes again, so that this takes no time itself."""
    reserve(path, raw_bytes(size))
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 0.01, (_BAND, size.width, 3)).astype("<f4")
    x = np.arange(size.width, dtype=np.float32)[None, :, None]
    for top in range(0, size.height, _BAND):
        band = open_raw(path, size, "r+")[top : top + _BAND]
        y = np.arange(top, top + len(band), dtype=np.float32)[:, None, None]
        hue = np.arange(3, dtype=np.float32)
        band[:] = 0.5 + 0.25 * (np.sin(x / 431 + hue) + np.sin(y / 297 - hue)) + grain[: len(band)]


def in_fresh_process(canvas: Path, size: Size, name: str) -> Written:
    """Raises RuntimeError with the process's last words where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks.files", str(canvas), str(size), name],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"writing {name} failed:\n{done.stderr[-2000:]}")
    return Written(**json.loads(done.stdout.splitlines()[-1]))


def write_once(canvas: Path, size: Size, name: str) -> Written:
    """Write one file beside the canvas, and remove it."""
    form, target = FORMS[name], canvas.with_name("picture")
    check_target(target, form, size)
    before, begin, busy = peak_rss(), time.monotonic(), time.process_time()
    try:
        write_output(canvas, size, target, form)
        seconds, busy = time.monotonic() - begin, time.process_time() - busy
        length = target.stat().st_size
    finally:
        target.unlink(missing_ok=True)
    return Written(name, size.width, size.height, seconds, busy, peak_rss() - before, length)


if __name__ == "__main__":
    width, height = map(int, sys.argv[2].split("x"))
    print(json.dumps(asdict(write_once(Path(sys.argv[1]), Size(width, height), sys.argv[3]))))
