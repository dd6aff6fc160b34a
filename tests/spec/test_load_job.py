"""Job files, and the sentences about their mistakes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tilefarm.errors import JobError
from tilefarm.spec.load import load_job
from tilefarm.spec.model import Job

DESIGN_EXAMPLE = """\
name: golden-gate              # default: the file's stem
content: golden_gate.jpg
style: starry_night.jpg        # or styles: [{image: a.jpg, weight: 0.7}, {image: b.jpg, weight: 0.3}]
output:
  path: out/golden-gate.tif    # .tif .tiff .png .jpg .jpeg
  width: 6000                  # or height, or long_side, or print: {width: 40cm, height: 30cm, dpi: 300}
  dpi: 300
  bit_depth: 16                # 8 | 16 (TIFF, PNG)
method: exact                  # exact | feathered
network: {name: vgg19, weights: bundled, pooling: max}
objective:
  content_weight: 1.0
  style_weight: 1.0
  tv_weight: 0.0
  content_layers: {relu4_2: 1.0}
  style_layers: {relu1_1: 1.0, relu2_1: 1.0, relu3_1: 1.0, relu4_1: 1.0, relu5_1: 1.0}
pyramid: {smallest: 224, iterations: [300, 200, 100, 50, 25, 15]}   # coarse to fine, the last repeats
tiles: {size: auto, rounds: 3, iterations: 30}
optimizer: {name: lbfgs, history: 20}
init: content
seed: 0
compute: {device: auto, precision: auto, workers: auto, memory: auto}
"""
MINIMAL = "content: golden_gate.jpg\nstyle: starry_night.jpg\noutput: {path: a.png}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("golden_gate.jpg", "starry_night.jpg", "own.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def load(folder: Path, text: str, overrides: Sequence[str] = (), name: str = "job.yaml") -> Job:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return load_job(path, overrides)


def problems(folder: Path, text: str, overrides: Sequence[str] = (), name: str = "job.yaml") -> list[str]:
    """The sentences, with the folder's path taken out."""
    with pytest.raises(JobError) as caught:
        load(folder, text, overrides, name)
    assert caught.value.exit_code == 2
    return [problem.replace(f"{folder}{os.sep}", "") for problem in caught.value.problems]


def test_the_example_of_the_design_loads(folder: Path) -> None:
    job = load(folder, DESIGN_EXAMPLE)
    assert job.content == folder / "golden_gate.jpg"
    assert job.styles[0].image == folder / "starry_night.jpg"
    assert job.output.path == folder / "out" / "golden-gate.tif"
    assert (job.name, job.output.width, job.output.bit_depth) == ("golden-gate", 6000, 16)


def test_the_example_has_the_defaults_but_for_name_and_size(folder: Path) -> None:
    short = (
        "content: golden_gate.jpg\nstyle: starry_night.jpg\noutput: {path: out/golden-gate.tif, width: 6000}"
    )
    assert load(folder, short, name="golden-gate.yaml") == load(folder, DESIGN_EXAMPLE)


def test_the_job_is_named_after_its_file(folder: Path) -> None:
    assert load(folder, MINIMAL, name="my.first_job.yaml").name == "my.first_job"
    [problem] = problems(folder, MINIMAL, name="my job.yaml")
    assert problem.startswith("my job.yaml: the job is named after its file, but name must be")
    assert load(folder, f"name: x\n{MINIMAL}", name="my job.yaml").name == "x"


def test_relative_paths_start_at_the_job_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "jobs").mkdir()
    text = MINIMAL.replace("golden", "../golden").replace("starry", "../starry")
    (folder / "jobs" / "a.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    job = load_job(Path("jobs/a.yaml"))
    assert all(path.is_absolute() for path in (job.content, job.styles[0].image, job.output.path))
    assert job.content.samefile(folder / "golden_gate.jpg")
    assert job.output.path == folder / "jobs" / "a.png"


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "jobs").mkdir()
    text = "content: ~/golden_gate.jpg\nstyle: ~/starry_night.jpg\noutput: {path: ~/a.png}\n"
    text += "network: {weights: ~/own.safetensors}\n"
    job = load(folder / "jobs", text)
    assert job.content == folder / "golden_gate.jpg"
    assert job.output.path == folder / "a.png"
    assert job.network.weights == folder / "own.safetensors"


def test_every_mistake_is_told_at_once_in_the_order_of_the_lines(folder: Path) -> None:
    text = """\
content: golden_gat.jpg
styles:
  - image: starry_night.jpg
    weight: 0
  - imagee: starry_night.jpg
output:
  path: a.gif
  width: 6000
  height: 4500
method: exactly
network: {name: vgg16, weights: torchvision}
objective:
  style_layers:
    relu41: 1.0
    relu5_4: 1.0
  content_weight: heavy
tiles:
  sise: 3
  size: 500
  rounds: 0
pyramid:
  smallest: 60:45
  iterations:
    - 10
    - 0
optimizer:
compute: 5
"""
    assert problems(folder, text, ["tiles.iterations=many", "seed=-1"]) == [
        "job.yaml, line 1: content names a file that does not exist, 'golden_gat.jpg'; "
        "relative paths start at the job file's folder",
        "job.yaml, line 4: styles.0.weight must be more than 0, got 0",
        "job.yaml, line 5: styles.1.image is missing; name the painting's file",
        "job.yaml, line 5: 'styles.1.imagee' is not a key of styles.1; did you mean 'image'?",
        "job.yaml, line 7: output.path must end in .tif, .tiff, .png, .jpg, .jpeg, .webp, got 'a.gif'",
        "job.yaml, line 9: output.height cannot be given together with output.width; "
        "keep only one of width, height, long_side and print",
        "job.yaml, line 10: method must be exact or feathered, got 'exactly'; did you mean 'exact'?",
        "job.yaml, line 14: objective.style_layers.relu41 is not a layer of vgg16; did you mean 'relu4_1'?",
        "job.yaml, line 15: objective.style_layers.relu5_4 is not a layer of vgg16; did you mean 'relu5_3'?",
        "job.yaml, line 16: objective.content_weight must be a number, got 'heavy'",
        "job.yaml, line 18: 'tiles.sise' is not a key of tiles; did you mean 'size'?",
        "job.yaml, line 19: tiles.size must be a multiple of 16, got 500; the nearest are 496 and 512",
        "job.yaml, line 20: tiles.rounds must be at least 1, got 0",
        "job.yaml, line 22: pyramid.smallest must be a whole number, got '60:45'",
        "job.yaml, line 25: pyramid.iterations.1 must be at least 1, got 0",
        "job.yaml, line 26: optimizer is empty; remove it, or give it some of its keys name, history, "
        "step_size, betas, averaging",
        "job.yaml, line 27: compute must be a mapping with the keys device, precision, "
        "workers, memory, transport, vectors, got 5",
        "--set tiles.iterations=many: tiles.iterations must be a whole number, got 'many'",
        "--set seed=-1: seed must be at least 0, got -1",
    ]


def test_mistakes_of_the_text_are_told_beside_those_of_the_values(folder: Path) -> None:
    text = MINIMAL + "seed: 1\nseed: -1\ninit: !!python/object:os.system x\ntiles: {size: 1}\n"
    assert problems(folder, text) == [
        "job.yaml, line 5: 'seed' was already given in line 4; keep one of them",
        "job.yaml, line 6: the tag '!!python/object:os.system' is not allowed in a job "
        "file; write a plain value",
        "job.yaml, line 7: tiles.size must be at least 64, got 1",
    ]


@pytest.mark.parametrize(
    ("addition", "sentence"),
    [
        ("name: 2024", "name must be text, got 2024; put it in quotes"),
        ("name: true", "name must be text, got true; put it in quotes"),
        ("name:", "name must be text, got nothing; put it in quotes"),
        ("init: 5", "init must be content, noise, style_statistics or the path of a picture, got 5"),
        (
            "init: nois",
            "init must be content, noise, style_statistics or the path of a picture, got 'nois'; "
            "did you mean 'noise'?",
        ),
        (
            "init: b.png",
            "init names a file that does not exist, 'b.png'; relative paths start at the job file's folder",
        ),
        ("init_noise: 1.5", "init_noise must be at most 1, got 1.5"),
        (
            "color: contnt_luma",
            "color.mode must be style, content_luma, content_hsv, histogram_rgb, histogram_hsv, statistics "
            "or luminance, got 'contnt_luma'; did you mean 'content_luma'?",
        ),
        ("color: 5", "color must be a mapping with the keys mode, when, working_space, got 5"),
        (
            "color: {mode: content_hsv, when: before}",
            "color.when must be after or every_level for content_hsv, which puts the content's pixels in the "
            "same places of the picture, got 'before'",
        ),
        (
            "color: {mode: luminance, when: after}",
            "color.when cannot be given for color.mode luminance, which paints the brightness alone from the "
            "start; remove it",
        ),
        (
            "color: {when: after}",
            "color.when cannot be given for color.mode style, which changes no colours; remove it",
        ),
        ("seed: '3'", "seed must be a whole number, got '3'"),
        ("seed: 1.0", "seed must be a whole number, got 1.0"),
        ("seed: true", "seed must be a whole number, got true"),
        ("seed: 99999999999999999999", "seed must be at most 9223372036854775807, got 99999999999999999999"),
        ("tiles: {rounds: 1000}", "tiles.rounds must be at most 100, got 1000"),
        ("tiles: {batch: on}", "tiles.batch must be auto or a whole number from 1 to 256, got 'on'"),
        (
            "tiles: []",
            "tiles must be a mapping with the keys size, rounds, iterations, batch, drift_correction, "
            "got a list",
        ),
        ("objective: {tv_weight: .inf}", "objective.tv_weight must be a finite number, got inf"),
        ("objective: {tv_weight: '3'}", "objective.tv_weight must be a number, got '3'"),
        (
            "objective: {style_layers: {relu1_1: '3'}}",
            "objective.style_layers.relu1_1 must be a number, got '3'",
        ),
        (
            "objective: {style_layers: {relu1_1: 0}}",
            "objective.style_layers must have a layer whose weight is not 0, got only zeros",
        ),
        ("pyramid: {iterations: 5}", "pyramid.iterations must be a list, got 5"),
        ("pyramid: {iterations: []}", "pyramid.iterations must have at least 1 entry, got 0"),
        ("pyramid: {iterations: [1, {a: 2}]}", "pyramid.iterations.1 must be a whole number, got a mapping"),
        (
            "compute: {memory: 8G}",
            "compute.memory must be auto, a size such as 8GiB, 512MiB or 16GB, or a number "
            "of bytes, got '8G'",
        ),
        (
            "network: {weights: bundld}",
            "network.weights must be bundled, torchvision or the path of a file ending in "
            ".safetensors, .pth, .pt, got 'bundld'; did you mean 'bundled'?",
        ),
        (
            "network: {weights: a.pth}",
            "network.weights names a file that does not exist, 'a.pth'; relative paths start "
            "at the job file's folder",
        ),
        ("contents: 1", "'contents' is not a key of a job; did you mean 'content'?"),
        (
            "on: 1",
            "'on' is not a key of a job; its keys are name, content, styles, output, "
            "method, preset, network, objective, pyramid, tiles, optimizer, init, init_noise, seed, "
            "color, alpha, compute, snapshots, animation, style",
        ),
        ("? {a: 1}\n: 1", "a key must be a word, got a list or a mapping"),
    ],
)
def test_sentences(folder: Path, addition: str, sentence: str) -> None:
    assert problems(folder, f"{MINIMAL}{addition}\n") == [f"job.yaml, line 4: {sentence}"]


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("{}", "output.path is missing; name the file to write, for example picture.tif"),
        ("{path: 5}", "output.path must be the path of a file, got the number 5; put it in quotes"),
        ("{path: }", "output.path must be the path of a file, got nothing"),
        ("{path: ''}", "output.path must be the path of a file, got an empty text"),
        (
            "{path: a.tif, print: {width: 4cm}}",
            "output.print.height is missing; a print needs width and height, for example 30cm",
        ),
        (
            "{path: a.tif, print: 40cm}",
            "output.print must be a mapping with the keys width, height, dpi, bleed, fit, pad, got '40cm'",
        ),
        (
            "{path: a.tif, print: {widht: 4cm, width: 4cm, height: 4cm}}",
            "'output.print.widht' is not a key of output.print; did you mean 'width'?",
        ),
        (
            "{path: ./golden_gate.jpg}",
            "output.path would overwrite content, 'golden_gate.jpg'; choose another file",
        ),
        ("{path: folder.png}", "output.path must be a file, but 'folder.png' is a folder"),
        (
            "{path: golden_gate.jpg/a.png}",
            "output.path must lie in a folder, but 'golden_gate.jpg' is a file",
        ),
        ("{path: link.png}", "output.path would overwrite style, 'starry_night.jpg'; choose another file"),
        (
            "{path: a.jpg, bit_depth: 16}",
            "output.bit_depth must be 8 for JPEG, got 16; write a .tif or .png file to keep 16 bits",
        ),
        ("{path: a.tif, bit_depth: 12}", "output.bit_depth must be 8 or 16, got 12"),
        ("{path: a.tif, tiled: 3}", "output.tiled must be true or false, got 3"),
    ],
)
def test_output_sentences(folder: Path, output: str, sentence: str) -> None:
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to("starry_night.jpg")
    text = f"content: golden_gate.jpg\nstyle: starry_night.jpg\noutput: {output}\n"
    assert problems(folder, text) == [f"job.yaml, line 3: {sentence}"]


@pytest.mark.parametrize(
    ("style", "sentence"),
    [
        (
            "style: starry.jpg",
            "style names a file that does not exist, 'starry.jpg'; relative paths start at "
            "the job file's folder",
        ),
        ("style: pictures", "style must be a file, but 'pictures' is a folder"),
        ("style: [starry_night.jpg]", "style must be the path of a file, got a list"),
        ("style: 3", "style must be the path of a file, got the number 3; put it in quotes"),
        (
            "style: ~nobody-has-this-name/a.jpg",
            "style starts with the home folder of nobody here, got '~nobody-has-this-name/a.jpg'",
        ),
        ('style: "a\\0.jpg"', "style must be a path in UTF-8 without null characters, got 'a\\x00.jpg'"),
        ("styles: a.jpg", "styles must be a list, got 'a.jpg'"),
        ("styles: []", "styles must have at least 1 entry, got 0"),
        (
            "styles: [starry_night.jpg]",
            "styles.0 must be a mapping with the keys image, weight, scale, mask, style_mask, "
            "got 'starry_night.jpg'",
        ),
        ("styles: [{image: starry_night.jpg, scale: 9}]", "styles.0.scale must be at most 8, got 9"),
    ],
)
def test_style_sentences(folder: Path, style: str, sentence: str) -> None:
    (folder / "pictures").mkdir()
    text = f"content: golden_gate.jpg\noutput: {{path: a.png}}\n{style}\n"
    [problem] = problems(folder, text)
    assert problem.replace(f"{folder}/", "") == f"job.yaml, line 3: {sentence}"


def test_style_and_styles_together(folder: Path) -> None:
    text = MINIMAL + "styles: [{image: starry_night.jpg}]\n"
    sentence = "style cannot be given together with styles; keep only one of them"
    assert problems(folder, text) == [f"job.yaml, line 2: {sentence}"]


def test_missing_keys(folder: Path) -> None:
    assert problems(folder, "seed: 0") == [
        "job.yaml: content is missing; name the photograph's file",
        "job.yaml: style is missing; name the painting's file, or several paintings under styles",
        "job.yaml: output is missing; give at least output.path, the file to write",
    ]


def test_all_missing_files_are_told_at_once(folder: Path) -> None:
    text = "content: a.jpg\nstyles: [{image: b.jpg},\n {image: c.jpg}]\noutput: {path: a.png}\n"
    text += "network: {weights: w.pt}\n"
    found = problems(folder, text)
    places = [
        "line 1: content",
        "line 2: styles.0.image",
        "line 3: styles.1.image",
        "line 5: network.weights",
    ]
    assert len(found) == 4
    for problem, place in zip(found, places, strict=True):
        assert problem.startswith(f"job.yaml, {place} names a file that does not exist")


def test_names_that_are_too_long_for_the_system(folder: Path) -> None:
    [problem] = problems(folder, MINIMAL.replace("golden_gate", "x" * 300))
    assert problem.startswith("job.yaml, line 1: content ")
    [problem] = problems(folder, MINIMAL.replace("a.png", "x" * 300 + ".png"))
    assert problem.startswith("job.yaml, line 3: output.path ")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", "is empty"),
        ("# only a comment", "is empty"),
        ("- a", "does not hold a mapping of keys to values"),
        ("hello", "does not hold a mapping of keys to values"),
    ],
)
def test_files_without_keys(folder: Path, text: str, state: str) -> None:
    assert problems(folder, text) == [
        f"job.yaml {state}; a job file has at least content, style and output.path"
    ]


words = st.sampled_from(
    [
        "name",
        "content",
        "style",
        "styles",
        "output",
        "path",
        "width",
        "height",
        "long_side",
        "print",
        "dpi",
        "bit_depth",
        "method",
        "network",
        "weights",
        "preprocessing",
        "pooling",
        "objective",
        "content_weight",
        "style_layers",
        "relu4_2",
        "pyramid",
        "smallest",
        "iterations",
        "tiles",
        "size",
        "batch",
        "optimizer",
        "history",
        "init",
        "seed",
        "compute",
        "device",
        "precision",
        "workers",
        "memory",
        "image",
        "weight",
        "scale",
        "vgg19",
        "auto",
        "golden_gate.jpg",
        "starry_night.jpg",
        "own.safetensors",
        "a.png",
        "a.tif",
        ".",
        "..",
        "/",
        "~",
        "~x",
        "40cm",
        "8GiB",
        "feathered",
        "1e3",
    ]
)
values = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=8)
nested = st.recursive(
    values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(structure=st.dictionaries(words, nested, max_size=6))
def test_any_structure_is_a_job_or_a_job_error(folder: Path, structure: dict[str, object]) -> None:
    whole = {
        "content": "golden_gate.jpg",
        "style": "starry_night.jpg",
        "output": {"path": "a.png"},
    } | structure
    check(folder, yaml.safe_dump(whole, allow_unicode=True))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(text=st.text(max_size=80), overrides=st.lists(st.text(max_size=30), max_size=2))
@example(text=MINIMAL, overrides=["output.=1"])
@example(text=MINIMAL, overrides=["styles.99999999999999999999.weight=1"])
@example(text=MINIMAL, overrides=["styles=&a [*a]"])
def test_any_text_is_a_job_or_a_job_error(folder: Path, text: str, overrides: list[str]) -> None:
    check(folder, text, overrides)
    check(folder, MINIMAL + text, overrides)


def check(folder: Path, text: str, overrides: Sequence[str] = ()) -> None:
    path = folder / "job.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(load_job(path, overrides), Job)
        found: tuple[str, ...] = ("--set ",)
    except JobError as error:
        found = error.problems
    assert found
    for problem in found:
        assert problem.startswith((str(path), "--set "))
        assert "Input should" not in problem
        assert "cannot be used, got" not in problem  # the sentence for a rule that has none of its own


def test_noise_is_not_mixed_into_noise(folder: Path) -> None:
    told = problems(folder, f"{MINIMAL}init: noise\ninit_noise: 0.5\n")
    assert told == [
        "job.yaml, line 5: init_noise cannot be given with init: noise, which is all noise already; remove it"
    ]


def test_the_output_must_not_replace_the_start(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"x")
    assert problems(folder, f"{MINIMAL}init: a.png\n") == [
        "job.yaml, line 3: output.path would overwrite init, 'a.png'; choose another file"
    ]
