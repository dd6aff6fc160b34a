"""Which changes of a job give it another run folder."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from tilefarm.errors import JobError
from tilefarm.spec.fingerprint import file_sha256, fingerprint, pixel_inputs
from tilefarm.spec.load import load_job
from tilefarm.spec.model import Network, Objective, Optimizer, Pyramid, Tiles

TEXT = """\
content: a.jpg
style: b.jpg
output: {path: c.tif}
network: {weights: w.pt}
objective: {style_layers: {relu1_1: 1, relu2_1: 2}}
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "w.pt"):
        (tmp_path / name).write_bytes(name.encode())
    path = tmp_path / "job.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def of(job: Path, *overrides: str) -> str:
    return fingerprint(load_job(job, overrides, kept=True))  # keys count that change nothing, too


def test_form(job: Path) -> None:
    assert re.fullmatch("[0-9a-f]{8}", of(job))
    inputs = pixel_inputs(load_job(job))
    assert json.loads(json.dumps(inputs)) == inputs
    assert inputs["content"] == hashlib.sha256(b"a.jpg").hexdigest()


def test_large_files_are_hashed_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # 2.4 MiB: three blocks
    (tmp_path / "a").write_bytes(content)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    with pytest.raises(JobError, match="cannot be read"):
        file_sha256(tmp_path / "b")


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "output.path=elsewhere/c.jpg",
        "output.dpi=72",
        "output.bit_depth=8",
        "compute.device=cpu",
        "compute.workers=3",
        "compute.memory=1GiB",
        "compute.transport=float32",
        "compute.transport=packed",
        "seed=0",
        "objective.style_statistics=gram",
        "objective.units=relative",
        "objective.tv_exponent=2",
        "objective.style_statistics={gram: 1.0, mean: 0}",
        "snapshots=5",
        "snapshots={every: 2, long_side: 720}",
        "animation=film.gif",
        "animation={path: film.gif, seconds: 3, level: 1, long_side: 100}",
        "init_noise=0",
        "alpha=keep",
        "alpha={mode: keep, background: '#FFFFFF'}",
        "color=content_luma",
        "color={mode: content_hsv, when: after}",
        "color={mode: statistics, when: after}",
        "objective.style_layers={relu2_1: 2.0, relu1_1: 1.0}",
        "styles=[{image: b.jpg, weight: 1, scale: 1.0}]",
    ],
)
def test_does_not_depend_on(job: Path, override: str) -> None:
    assert of(job, override) == of(job)


DECIDING = [
    "output.width=100",
    "output.width=101",
    "output.height=100",
    "output.long_side=100",
    "output.print={width: 1in, height: 2in}",
    "output.print={width: 1in, height: 2in, dpi: 200}",
    "network.preprocessing=caffe",
    "network.pooling=average",
    "network.pooling=l2",
    "network.padding=replicate",
    "network.padding=reflect",
    "network.name=vgg16",
    "network.weights=torchvision",
    "network.weights=bundled",
    "objective.content_weight=2",
    "objective.style_weight=2",
    "objective.tv_weight=2",
    "objective.content_layers={relu3_1: 1}",
    "objective.style_layers.relu1_1=3",
    "objective.style_target=crop",
    "objective.style_statistics=mean_std",
    "objective.style_layer_decay=2",
    "objective.activation_shift=-1",
    "objective.content_blend=0.5",
    "objective.normalize_gradients=true",
    "objective.units=absolute",
    "objective.units=averaged",
    "objective.tv_exponent=1",
    "styles=[{image: b.jpg, mask: a.jpg}]",
    "styles=[{image: b.jpg, mask: b.jpg}]",
    "styles=[{image: b.jpg, style_mask: a.jpg}]",
    "pyramid.smallest=100",
    "pyramid.iterations=[3]",
    "tiles.size=256",
    "tiles.rounds=2",
    "tiles.iterations=2",
    "tiles.batch=2",
    "tiles.drift_correction=false",
    "compute.transport=half",
    "optimizer.history=3",
    "optimizer={name: cg}",
    "optimizer={name: adam}",
    "optimizer={name: adam, step_size: 0.03}",
    "optimizer={name: adam, betas: [0.9, 0.999]}",
    "optimizer={name: adam, averaging: 0}",
    "init=noise",
    "init=style_statistics",
    "init=a.jpg",
    "init=b.jpg",
    "init_noise=0.5",
    "color=histogram_rgb",
    "color={mode: histogram_rgb, when: every_level}",
    "color={mode: content_luma, when: every_level}",
    "color=statistics",
    "color=luminance",
    "alpha.background=black",
    "alpha.background='#ff0000'",
    "seed=1",
    "compute.precision=float32",
    "styles.0.weight=2",
    "styles.0.scale=2",
    "styles=[{image: b.jpg}, {image: a.jpg}]",
    "content=b.jpg",
    "style=a.jpg",
]


def test_depends_on_everything_else(job: Path) -> None:
    found = [of(job)] + [of(job, override) for override in DECIDING]
    assert len(set(found)) == len(found)


def test_every_key_of_the_deciding_sections_is_tested() -> None:
    """A new key must come into the list above."""
    tested = {override.split("=")[0] for override in DECIDING} | {"objective.style_layers"}
    tested |= {f"optimizer.{key}" for key in ("name", "step_size", "betas", "averaging")}
    for section in (Objective, Pyramid, Tiles, Optimizer, Network):
        name = section.__name__.lower()
        assert {f"{name}.{key}" for key in section.model_fields} <= tested


def test_names_and_folders_of_inputs_do_not_matter(job: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for old, new in (("a.jpg", "photo.png"), ("b.jpg", "painting.jpg"), ("w.pt", "weights.pth")):
        shutil.copy(tmp_path / old, other / new)
    text = TEXT.replace("a.jpg", "photo.png").replace("b.jpg", "painting.jpg").replace("w.pt", "weights.pth")
    (other / "job2.yaml").write_text("\n".join(reversed(text.splitlines())), encoding="utf-8")
    assert of(other / "job2.yaml") == of(job)


@pytest.mark.parametrize("name", ["a.jpg", "b.jpg", "w.pt"])
def test_bytes_of_inputs_matter(job: Path, name: str) -> None:
    before = of(job)
    (job.parent / name).write_bytes(b"other")
    assert of(job) != before


def test_prints_of_the_same_pixels_are_the_same_request(job: Path) -> None:
    small = of(job, "output.print={width: 2in, height: 3in, dpi: 100}")
    assert of(job, "output.print={width: 1in, height: 1.5in}", "output.dpi=200") == small
    assert of(job, "output.print={width: 50.8mm, height: 7.62cm, dpi: 100}") == small
    assert of(job, "output.width=200") != small


def test_prints_count_with_what_is_painted(job: Path) -> None:
    def paper(**keys: str) -> str:
        inside = "".join(f", {key}: {value}" for key, value in keys.items())
        return of(job, f"output.print={{width: 2in, height: 3in, dpi: 100{inside}}}")

    plain = of(job, "output.print={width: 2in, height: 3in, dpi: 100}")
    assert paper(bleed="0", fit="crop", pad="mirror") == plain
    larger = of(job, "output.print={width: 2.2in, height: 3.2in, dpi: 100}")
    assert paper(bleed="0.1in") == larger  # cut later, painted as large
    mirrored = paper(fit="pad")
    bled = paper(fit="pad", bleed="0.1in")
    assert len({plain, larger, mirrored, bled, paper(fit="exact"), paper(fit="exact", bleed="0.1in")}) == 6
    white = paper(fit="pad", pad="white")
    assert white not in (plain, mirrored)
    for other in ({"pad": "black"}, {"pad": "'#00ff00'"}, {"pad": "white", "bleed": "0.1in"}):
        assert paper(fit="pad", **other) == white  # the margin is not painted


def test_prints_of_the_version_before_are_found_again(job: Path) -> None:
    """Its record of the size was the print's pixels alone."""
    inputs = pixel_inputs(load_job(job, ["output.print={width: 40cm, height: 30cm}"]))
    assert inputs["size"] == {"print": [4724, 3543]}


def test_the_first_versions_runs_are_found_again() -> None:
    """Keys that were added later leave the hash of a job that does not use them as it was."""
    assert fingerprint(load_job(Path(__file__).parents[2] / "jobs/demo.yaml")) == "2bffa910"


def test_the_moment_that_a_mode_has_anyway_need_not_be_named(job: Path) -> None:
    assert of(job, "color=statistics") == of(job, "color={mode: statistics, when: before}")


def test_a_start_counts_by_its_bytes(job: Path) -> None:
    (job.parent / "noise").write_bytes(b"a start")
    (job.parent / "other").write_bytes(b"a start")
    assert of(job, "init=./noise") == of(job, "init=other")
    assert of(job, "init=./noise") != of(job, "init=noise")
    (job.parent / "other").write_bytes(b"another")
    assert of(job, "init=./noise") != of(job, "init=other")


def test_one_mask_for_two_styles_is_not_two_masks(job: Path, tmp_path: Path) -> None:
    shutil.copyfile(tmp_path / "a.jpg", tmp_path / "copy.jpg")
    shared = of(job, "styles=[{image: b.jpg, mask: a.jpg}, {image: w.pt, mask: a.jpg}]")
    apart = of(job, "styles=[{image: b.jpg, mask: a.jpg}, {image: w.pt, mask: copy.jpg}]")
    assert shared != apart
