"""One known picture in every form that people have on disk, written by Pillow, tifffile and libvips.

Each form says which pixels a reader must see: those that were given to the writer, and for forms that lose
some, what another library makes of the file, or how far they may be off.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

HEIGHT, WIDTH = 90, 130
Write = Callable[[Path], Any]
Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class Form:
    """A way to store the picture."""

    name: str
    """Of the file; its ending is the format."""
    write: Write
    expected: Callable[[], Pixels]
    """(height, width, 3), sRGB, 0..1, upright."""
    tolerance: float = 1e-6
    """The largest difference of a value, in 0..1."""
    notes: tuple[str, ...] = ()
    """Words of what the reader tells about it."""


@cache
def rgb() -> NDArray[np.uint8]:
    """Three ramps: every edge has another colour, so that turned and swapped pictures are noticed."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    ramps = [x / (WIDTH - 1), y / (HEIGHT - 1), (x + y) / (WIDTH + HEIGHT - 2)]
    values: NDArray[np.uint8] = np.rint(255 * np.stack(ramps, axis=-1)).astype(np.uint8)
    return values


@cache
def alpha() -> NDArray[np.uint8]:
    """From clear on the left to solid on the right."""
    return np.repeat(np.linspace(0, 255, WIDTH).round().astype(np.uint8)[np.newaxis], HEIGHT, axis=0)


def colour() -> Pixels:
    return rgb() / 255


def grey_values() -> NDArray[np.uint8]:
    return rgb()[..., 2]


def grey() -> Pixels:
    return np.repeat(grey_values()[..., np.newaxis] / 255, 3, axis=2)


def on_white() -> Pixels:
    share = alpha()[..., np.newaxis] / 255
    return colour() * share + 1 - share


def grey_on_white() -> Pixels:
    share = alpha()[..., np.newaxis] / 255
    return grey() * share + 1 - share


def _steps(levels: int) -> Callable[[], Pixels]:
    """The grey picture in so many steps."""
    return lambda: np.repeat(_coarse(levels)[..., np.newaxis] / (levels - 1), 3, axis=2)


def _coarse(levels: int) -> NDArray[np.uint8]:
    return (grey_values() // (256 // levels)).astype(np.uint8)


def pil() -> Image.Image:
    return Image.fromarray(rgb())


def _with_alpha() -> Image.Image:
    return Image.fromarray(np.dstack([rgb(), alpha()]))


def _palette(colours: int = 64) -> Image.Image:
    return pil().quantize(colours)


def _palette_colours(colours: int = 64) -> Pixels:
    return np.asarray(_palette(colours).convert("RGB")) / 255


def _grey_png(bits: int) -> Write:
    def write(path: Path) -> None:
        _vips(_coarse(2**bits) * (255 // (2**bits - 1)), "b-w").pngsave(str(path), bitdepth=bits)

    return write


def _clear_entry() -> Pixels:
    """The palette's first entry is clear, and what is below it white."""
    image = _palette()
    shown = np.asarray(image.convert("RGB")) / 255
    return np.where((np.asarray(image) == 0)[..., np.newaxis], 1.0, shown)


def _vips(pixels: NDArray[Any] | None = None, space: str = "srgb") -> pyvips.Image:
    return pyvips.Image.new_from_array(rgb() if pixels is None else pixels).copy(interpretation=space)


def _deep() -> NDArray[np.uint16]:
    return rgb().astype(np.uint16) * 257


def _lab_8() -> NDArray[np.uint8]:
    """CIELab of D50 as LittleCMS makes it, in 8 bits; a and b are signed, as TIFF wants them."""
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(pil(), srgb, lab, outputMode="LAB")
    assert image is not None
    return np.frombuffer(image.tobytes(), np.uint8).reshape(HEIGHT, WIDTH, 3)


def _lab_numbers() -> NDArray[np.float32]:
    lightness, signed = _lab_8()[..., :1] * np.float32(100 / 255), _lab_8()[..., 1:].view(np.int8)
    return np.dstack([lightness, signed]).astype(np.float32)


def _lab_16() -> NDArray[np.uint16]:
    scaled = _lab_numbers() * np.array([65535 / 100, 256, 256])
    values: NDArray[np.uint16] = (np.rint(scaled).astype(np.int64) & 0xFFFF).astype(np.uint16)
    return values


def _from_lab() -> Pixels:
    """CIE 15:2018, equation 8.5 backwards; D50 to sRGB with Bradford's adaptation, as Lindbloom gives it."""
    lightness, a, b = np.moveaxis(_lab_numbers().astype(np.float64), 2, 0)
    middle = (lightness + 16) / 116
    roots = np.stack([middle + a / 500, middle, middle - b / 200])
    relative = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29))
    xyz = relative * np.array([0.96422, 1, 0.82521])[:, np.newaxis, np.newaxis]
    to_linear = np.array(
        [
            [3.1338561, -1.6168667, -0.4906146],
            [-0.9787684, 1.9161415, 0.0334540],
            [0.0719453, -0.2289914, 1.4052427],
        ]
    )
    linear = np.einsum("cx,xhw->hwc", to_linear, xyz).clip(0, 1)
    values: Pixels = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return values


def _cmyk() -> Pixels:
    """Through the press profile, by LittleCMS."""
    press, srgb = (
        ImageCms.ImageCmsProfile(io.BytesIO(bytes(pyvips.Operation.call("profile_load", name))))
        for name in ("cmyk", "srgb")
    )
    converted = ImageCms.profileToProfile(
        pil().convert("CMYK"),
        press,
        srgb,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None
    return np.asarray(converted) / 255


def _turned(orientation: int) -> Write:
    """Stored so that this EXIF value makes it upright again."""
    ways = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }

    def write(path: Path) -> None:
        way, exif = ways[orientation], Image.Exif()
        exif[0x0112] = orientation
        (pil() if way is None else pil().transpose(way)).save(path, quality=98, subsampling=0, exif=exif)

    return write


def _pil(image: Callable[[], Image.Image], **options: Any) -> Write:
    return lambda path: image().save(path, **options)


def _tiff(pixels: Callable[[], NDArray[Any]], **options: Any) -> Write:
    return lambda path: tifffile.imwrite(path, pixels(), metadata=None, **{"photometric": "rgb"} | options)


def _by_vips(saver: str, **options: Any) -> Write:
    return lambda path: getattr(_vips(), saver)(str(path), **options)


def _premultiplied() -> NDArray[np.uint8]:
    share = alpha()[..., np.newaxis] / 255
    return np.dstack([np.rint(rgb() * share).astype(np.uint8), alpha()])


_LOSSY = 6 / 255
_CLEAR = ("alpha is flattened on white",)
_FLOAT = ("taken as sRGB",)

JPEG = [
    Form("baseline.jpg", _pil(pil, quality=98), colour, _LOSSY),
    Form("progressive.jpg", _pil(pil, quality=98, progressive=True), colour, _LOSSY),
    *(
        Form(f"subsampled-{way.replace(':', '')}.jpg", _pil(pil, quality=98, subsampling=way), colour, _LOSSY)
        for way in ("4:4:4", "4:2:2", "4:2:0", "4:1:1")
    ),
    Form("channels-rgb.jpg", _pil(pil, quality=98, keep_rgb=True), colour, _LOSSY),
    Form("restart-markers.jpg", _pil(pil, quality=98, restart_marker_rows=1), colour, _LOSSY),
    Form("grey.jpg", _pil(lambda: Image.fromarray(grey_values()), quality=98), grey, _LOSSY),
    Form(
        "cmyk.jpg", _pil(lambda: pil().convert("CMYK"), quality=99, subsampling=0), _cmyk, 10 / 255, ("CMYK",)
    ),
    *(Form(f"turned-{value}.jpg", _turned(value), colour, _LOSSY) for value in range(1, 9)),
]
PNG = [
    Form("rgb8.png", _pil(pil), colour),
    Form("rgb16.png", lambda path: _vips(_deep(), "rgb16").pngsave(str(path)), colour),
    Form("interlaced.png", _by_vips("pngsave", interlace=True), colour),
    Form("interlaced16.png", lambda p: _vips(_deep(), "rgb16").pngsave(str(p), interlace=True), colour),
    Form("rgba.png", _pil(_with_alpha), on_white, notes=_CLEAR),
    Form("grey8.png", _pil(lambda: Image.fromarray(grey_values())), grey),
    Form("grey16.png", _pil(lambda: Image.fromarray(grey_values().astype(np.uint16) * 257)), grey),
    Form(
        "grey-alpha.png",
        _pil(lambda: Image.fromarray(np.dstack([grey_values(), alpha()]), "LA")),
        grey_on_white,
        notes=_CLEAR,
    ),
    *(
        Form(
            f"grey{bits}.png",
            _grey_png(bits),
            _steps(2**bits),
        )
        for bits in (1, 2, 4)
    ),
    Form("palette.png", _pil(_palette), _palette_colours),
    *(
        Form(
            f"palette-{bits}-bit.png",
            _pil(partial(_palette, 2**bits), bits=bits),
            partial(_palette_colours, 2**bits),
        )
        for bits in (1, 2, 4)
    ),
    Form("palette-clear-entry.png", _pil(_palette, transparency=0), _clear_entry, notes=_CLEAR),
    Form(
        "clear-colour.png",
        _pil(pil, transparency=tuple(map(int, rgb()[40, 50]))),
        lambda: np.where((rgb() == rgb()[40, 50]).all(axis=2, keepdims=True), 1.0, colour()),
        notes=_CLEAR,
    ),
    Form("animated.png", _pil(pil, save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]), colour),
]
TIFF = [
    Form("rgb8.tif", _tiff(rgb), colour),
    Form("rgb16-big-endian.tif", _tiff(_deep, byteorder=">"), colour),
    Form("rgb16-deflate-predictor.tif", _tiff(_deep, compression="zlib", predictor=True), colour),
    Form("bigtiff.tif", _tiff(rgb, bigtiff=True), colour),
    Form("bigtiff-big-endian.tif", _tiff(_deep, bigtiff=True, byteorder=">"), colour),
    Form("tiled.tif", _tiff(rgb, tile=(32, 48), compression="zlib"), colour),
    Form("lzw.tif", _by_vips("tiffsave", compression="lzw", predictor="horizontal"), colour),
    Form("packbits.tif", _by_vips("tiffsave", compression="packbits"), colour),
    Form("jpeg-inside.tif", _by_vips("tiffsave", compression="jpeg", Q=98), colour, _LOSSY),
    Form(
        "planar.tif",
        _tiff(lambda: np.moveaxis(rgb(), 2, 0), planarconfig="separate", rowsperstrip=7),
        colour,
    ),
    Form(
        "pages.tif",
        _pil(pil, save_all=True, append_images=[Image.new("RGB", (20, 30))]),
        colour,
        notes=("only the first of 2 pages",),
    ),
    Form("float32.tif", _tiff(lambda: colour().astype(np.float32)), colour, notes=_FLOAT),
    Form("float16.tif", _tiff(lambda: colour().astype(np.float16)), colour, 3e-4, _FLOAT),
    Form(
        "float32-predictor.tif",
        lambda path: _vips(colour().astype(np.float32), "scrgb").tiffsave(
            str(path), compression="deflate", predictor="float"
        ),
        colour,
        notes=_FLOAT,
    ),
    Form("rgb32.tif", _tiff(lambda: rgb().astype(np.uint32) * 16843009), colour),
    Form(
        "rgba.tif",
        _tiff(lambda: np.dstack([rgb(), alpha()]), extrasamples=["unassalpha"]),
        on_white,
        notes=_CLEAR,
    ),
    Form(
        "rgba-premultiplied.tif",
        _tiff(_premultiplied, extrasamples=["assocalpha"]),
        on_white,
        2 / 255,
        _CLEAR,
    ),
    Form("grey16.tif", _tiff(lambda: grey_values().astype(np.uint16) * 257, photometric="minisblack"), grey),
    Form("inverted.tif", _tiff(lambda: 255 - grey_values(), photometric="miniswhite"), grey),
    Form("palette.tif", _pil(_palette), _palette_colours),
    Form("bilevel.tif", _pil(lambda: Image.fromarray(_coarse(2) * 255).convert("1")), _steps(2)),
    Form(
        "fax.tif",
        _pil(lambda: Image.fromarray(_coarse(2) * 255).convert("1"), compression="group4"),
        _steps(2),
    ),
    Form("cmyk.tif", _pil(lambda: pil().convert("CMYK")), _cmyk, 2.1 / 255, ("CMYK",)),
    Form("lab8.tif", _tiff(_lab_8, photometric="cielab"), _from_lab, 2 / 255, ("CIELab",)),
    Form(
        "lab8-tiled-big-endian.tif",
        _tiff(_lab_8, photometric="cielab", byteorder=">", tile=(32, 32), compression="zlib"),
        _from_lab,
        2 / 255,
        ("CIELab",),
    ),
    Form("lab16.tif", _tiff(_lab_16, photometric="cielab"), _from_lab, 2 / 255, ("CIELab",)),
    Form(
        "lab-float.tif",
        lambda path: _vips(_lab_numbers(), "lab").tiffsave(str(path)),
        _from_lab,
        2 / 255,
        ("CIELab",),
    ),
]
OTHERS = [
    Form("lossy.webp", _pil(pil, quality=98), colour, 12 / 255),
    Form("lossless.webp", _pil(pil, lossless=True), colour),
    Form("alpha.webp", _pil(_with_alpha, lossless=True, exact=True), on_white, notes=_CLEAR),
    Form("palette.gif", _pil(_palette), _palette_colours),
    Form("interlaced.gif", _pil(_palette, interlace=1), _palette_colours),
    Form("clear-entry.gif", _pil(_palette, transparency=0), _clear_entry, notes=_CLEAR),
    Form("lossy.avif", _pil(pil, quality=95), colour, 8 / 255),
    Form("lossless.avif", _by_vips("heifsave", compression="av1", lossless=True), colour),
    Form(
        "12-bit.avif",
        lambda path: _vips(_deep(), "rgb16").heifsave(
            str(path), compression="av1", lossless=True, bitdepth=12
        ),
        colour,
        1 / 4095,
    ),
    Form("alpha.avif", _pil(_with_alpha, quality=100, subsampling="4:4:4"), on_white, 12 / 255, _CLEAR),
]
FORMS = [*JPEG, *PNG, *TIFF, *OTHERS]


@cache
def encoded() -> dict[str, bytes]:
    """The bytes of every form, by its name."""
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMS:
            form.write(Path(folder) / form.name)
        return {form.name: (Path(folder) / form.name).read_bytes() for form in FORMS}
