"""The commented job file that `tilefarm init` writes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tilefarm.errors import JobError
from tilefarm.spec.paths import OUTPUT_FORMATS, same_file
from tilefarm.spec.yaml_writer import write_yaml


def starter_job(content: Path, style: Path, output: Path, folder: Path) -> str:
    """A job file with every key, its default and what it is for, to be saved in `folder`.

    Paths are written relative to `folder` where the system has such a path; an output outside of it absolute,
    since a job may not climb out of its folder. Raises JobError if the ending
    of `output` is not one that a job accepts; whether the inputs exist is not looked at.
    """
    kind = OUTPUT_FORMATS.get(output.suffix.lower())
    if kind is None:
        raise JobError(f"the output file must end in {', '.join(OUTPUT_FORMATS)}, got '{output}'")
    inside = _relative(output, folder)
    return _TEMPLATE.format(
        content=_scalar(_relative(content, folder)),
        style=_scalar(_relative(style, folder)),
        output=_scalar(str(output.absolute()) if inside.startswith("..") else inside),
        bit_depth=16 if kind == "tiff" else 8,
    )


def check_new_job(job_file: Path, output: Path, inputs: Sequence[Path], force: bool) -> None:
    """Raises JobError where the job file or its picture would replace what is there.

    `force` lets them replace files, but never one of the `inputs`, or each other.
    """
    problems = list(_replaced(job_file, output, inputs, force))
    if problems:
        raise JobError(problems)


def _replaced(job_file: Path, output: Path, inputs: Sequence[Path], force: bool) -> Iterator[str]:
    if same_file(job_file.absolute(), output.absolute()):
        yield f"--job and --output name the same file, {output}; choose another one for one of them"
        return
    for option, path, what in (
        ("--job", job_file, "replace it with --force"),
        ("--output", output, "let the job replace it with --force"),
    ):
        if read := [one for one in inputs if same_file(one.absolute(), path.absolute())]:
            yield f"{option} would overwrite {read[0]}, which the job reads; choose another file"
        elif path.exists() and not force:
            yield f"{path} exists already; choose another {option}, or {what}"


def _relative(path: Path, folder: Path) -> str:
    """With real folders, because `..` behind a link leads to the parent of the link's target."""
    real = path.absolute().parent.resolve() / path.name
    try:
        # Path.relative_to writes no `..` before Python 3.12.
        return Path(os.path.relpath(real, folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return str(real)


def _scalar(text: str) -> str:
    """The text as one YAML value on one line, in quotes only where it needs them."""
    return write_yaml(text).removesuffix("...\n").strip()


_TEMPLATE = """\
# A job for tilefarm. Only content, style and output.path are needed: every other line below shows
# the value that is used when the line is absent. Paths start at this file's folder.

# name: my-picture           # How the job is called in lists and folders. Without it: this file's name.

content: {content}
# The photograph: what will be seen.

style: {style}
# The painting: how it will be painted. For several paintings write, instead of style:
# styles:
#   - image: first.jpg
#     weight: 1.0            # Its share: twice the weight, twice the say.
#     scale: 1.0             # Brush size: 0.5 for finer strokes, 2 for coarser ones.
#     mask: sky.png          # A grey picture over the photograph: this painting acts where it is white. A
#                            # style without a mask takes what the others leave.
#     style_mask: part.png   # A grey picture over the painting: only what is white is learned from.
#   - image: second.jpg

output:
  path: {output}
  # preset: lab-srgb         # What a purpose asks for: lab-srgb, lab-adobe, poster, web or archive. Delete
                             # the keys that are to come from it: what this file says comes first.
  # The finished picture: .tif for print shops, .png, .jpg or .webp for everything else.
  # address: s3://bucket/a.tif   # Where it is also sent. Or path: s3://bucket/a.tif
  #
  # Its size. Without one of these lines it gets as many pixels as the photograph. Use at most one:
  # width: 6000              # Pixels across; the height follows from the photograph.
  # height: 4500             # Pixels down; the width follows from the photograph.
  # long_side: 6000          # Pixels of the longer side.
  # print:                   # A sheet of paper, in cm, mm or in.
  #   width: 40cm
  #   height: 30cm
  #   bleed: 0mm             # What the print shop cuts off on every side: the file is larger by so much.
  #   fit: crop              # What has not the sheet's shape is cut off evenly. pad: all of the photograph is
  #                          # seen, and goes on mirrored. exact: the photograph must have the sheet's shape.
  #   pad: mirror            # white, black or "#c0ffee": a margin of plain paper instead of the mirrored one.
  dpi: 300                   # Dots per inch: how large the pixels are on paper. Posters can do with 150.
  bit_depth: {bit_depth:<2}              # 16 keeps skies free of steps (.tif, .png); 8 makes smaller files.
  provenance: true           # The file says how it was made: tilefarm submit --from PICTURE makes it again.
  # dither: true             # Only 8 bits: noise of one step hides the steps in skies. Without it: true.
  profile: srgb              # The colours of the file: display-p3 and adobe-rgb hold more saturated ones. Or
                             # a printer's profile, for example paper.icc, if the print shop asks for it.
  # intent: relative         # Only with another profile: what becomes of colours that it does not have.
                             # relative takes the nearest, perceptual keeps their distances; also
                             # saturation and absolute (with the colour of the paper).
  # proof: press.icc         # A CMYK profile: also writes NAME-proof.png, how that press prints the picture.
                             # Or {{profile: press.icc, intent: perceptual, paper_white: true}}.
  # compression: deflate     # Only .tif: lzw is what old programs read; also zstd and none.
  # tiled: true              # Only .tif: false stores strips, which some print software needs.
  # pyramid: false           # Only .tif: true adds smaller copies, for programs that zoom.
  # quality: 95              # Only .jpg and .webp: 1 to 100.
  # lossless: false          # Only .webp: true keeps every pixel as it is.

method: exact                # The whole picture at once, evaluated piece by piece, without seams.
                             # feathered: overlapping tiles, each painted alone, that are blended softly.

# preset: crowsonkb          # Instead of the defaults below the published settings of gatys2015, nuffer2016,
                             # neural-style-pt, spst or crowsonkb. Delete the keys that are to come from it:
                             # what this file says comes first.

network:
  name: vgg19                # The network that looks at both pictures. vgg16 sees a little coarser;
                             # squeezenet is quick and rough (leave out the layers below, or name its own:
                             # tilefarm doctor --layers lists them).
  weights: bundled           # bundled needs no download (vgg19 only). torchvision fetches some 550 MB
                             # (5 MB for squeezenet).
                             # Or a file of your own: .safetensors, .pth or .pt.
  # preprocessing: caffe     # Only for a file of your own: caffe or torchvision, what it was trained with.
  pooling: max               # average gives smoother, calmer strokes; l2 lies between them.
  padding: zeros             # What lies beyond the edge: zeros (grey), replicate or reflect.

objective:
  units: relative            # Weights of 1 fit each other. absolute and averaged: sums or means of squares as
                             # other systems publish them, whose weights must be given too.
  content_weight: 1.0        # More keeps closer to the photograph, less gives the painting more freedom.
  style_weight: 1.0          # More paints more boldly.
  tv_weight: 0.0             # Smoothing. Try 20 to 100 if the picture looks noisy.
  tv_exponent: 2.0           # 1 smooths grain and keeps edges sharp; 2 to 3 softens the largest steps most.
  content_layers: {{relu4_2: 1.0}}   # Deeper layers (relu5_1) keep only large shapes of the photograph.
  style_layers:              # Texture from fine (relu1_1) to coarse (relu5_1). Raise the last ones for
    relu1_1: 1.0             # larger brush strokes, the first ones for colour and grain.
    relu2_1: 1.0
    relu3_1: 1.0
    relu4_1: 1.0
    relu5_1: 1.0
  style_target: whole        # Learn from the whole painting. crop takes only its centre, as others do.
  style_statistics: gram     # What is compared with the painting: gram, mean, mean_std, gram_mean_std,
                             # wasserstein, remap, or several with weights: {{gram: 1, remap: 0.5}}.
  style_layer_decay: 1.0     # Multiplies the weight of each style layer after the first, once more from layer
                             # to layer: above 1 for large shapes and abstraction, below 1 for fine texture.
  activation_shift: 0.0      # Added to features before they are compared by gram; negative numbers
                             # make smoother, more even textures.
  # content_blend: 0.5       # Instead of content_layers: from relu4_2 (0) to relu5_2 (1), where only large
                             # shapes of the photograph stay.
  normalize_gradients: false # true: every layer pulls as strongly as its weight says, however far it is off.

pyramid:                     # The picture is painted small first and then enlarged step by step.
  smallest: 224              # Pixels of the first, smallest picture. Larger gives finer first shapes.
  iterations: [300, 200, 100, 50, 25, 15]    # Steps at each size; the last number is used for all larger
                             # ones. Halve them all for a quick try.

tiles:                       # Large sizes are worked on in square tiles.
  size: auto                 # Pixels of a tile, a multiple of 16; auto takes what fits the memory (exact),
                             # or 512 (feathered). The rest is for method: feathered.
  rounds: 3                  # How often all tiles are painted over. More hides their borders better.
  iterations: 30             # Steps on one tile in one round.
  batch: auto                # Tiles that one worker paints together; auto fits them into its memory.
  drift_correction: true     # Keeps each tile from becoming a small painting of its own. false: the
                             # original method.

optimizer:
  name: lbfgs                # The method that improves the picture step by step. lbfgs gets furthest in the
                             # fewest steps. adam takes steps of one size, for softer and freer pictures;
                             # cg needs as little disk and memory, and gets nearly as far as lbfgs.
  history: 20                # Only lbfgs: steps it remembers. Fewer save memory, more rarely help.
  # step_size: 0.02          # Only adam: how far a pixel moves in one step, of 1 from black to white.
  # betas: [0.9, 0.99]       # Only adam: how slowly it forgets the last steps' direction and size.
  # averaging: 0.99          # Only adam: the result is the mean of about the last 100 steps; 0: the last one.

init: content                # Start from the photograph. noise starts from random dots, for freer pictures;
                             # style_statistics from dots in the painting's colours. Or a picture's file.
init_noise: 0.0              # Random dots mixed into the start: 0 for none, 1 for nothing else.
seed: 0                      # Another number gives another picture where chance plays a part (noise).

color:
  mode: style                # The painting's colours. The photograph's: content_luma, content_hsv,
                             # histogram_rgb, histogram_hsv, statistics; luminance paints without colour.
  # when: after              # The last step, which can be redone quickly. before changes the painting,
                             # every_level each size in turn. Without it: what suits the mode.
  working_space: srgb        # wide keeps colours that sRGB lacks, from photographs in Display P3 or Adobe
                             # RGB to an output.profile that has them; for mode style.

alpha:
  mode: flatten              # keep writes the photograph's transparency into the picture (.tif, .png).
  background: white          # What shows through clear parts: black, or a colour such as "#c0ffee".

compute:
  device: auto               # cuda for the graphics card, cuda:1 for the second one, cpu for the processor.
  precision: auto            # bfloat16 is fast, float32 exact; auto takes what is fast on the device.
                             # float16 is for graphics cards that are too old for bfloat16.
  workers: auto              # How many pieces are painted at the same time.
  memory: auto               # The most memory to use, such as 8GiB. Lower it if other programs need room.
  transport: auto            # How pictures travel to other machines: half takes half the bytes, and changes
                             # the picture a little.
  vectors: auto              # Where the optimizer's memory lies: driver, or workers, if there are many
                             # machines. The picture is the same.

snapshots:                   # Small copies of the picture while it is painted, in the run folder.
  every: 0                   # One every so many steps; 0: none. Short: snapshots: 10
  long_side: 1080            # Pixels of a copy, at most.

# animation:                 # The picture emerging, as a film. Can also be asked for when it is painted, if
#   path: making-of.gif      # snapshots were kept. .gif, or .mp4 with: pip install 'tilefarm[video]'.
#   long_side: 720           # Pixels, at most; a GIF above 20 MB is made smaller.
#   seconds: 12              # Without the second and a half for which the last frame is held.
#   level: all               # Or the number of one size, 1 for the smallest.

# Several pictures from this file: every combination of the values of any keys above, one run each, and at
# the end a sheet that shows them all. The values are added to the names; or write {{name}} in output.path.
# matrix:
#   objective.style_weight: [0.5, 1, 2]
#   style: [first.jpg, "paintings/*.jpg"]    # A pattern stands for all files that match it.
"""
