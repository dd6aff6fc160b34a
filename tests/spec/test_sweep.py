"""A file with a matrix: its runs, their names and outputs, and every mistake once with its line."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilefarm.errors import JobError
from tilefarm.spec.fingerprint import fingerprint
from tilefarm.spec.load import load_job
from tilefarm.spec.resolved import to_yaml
from tilefarm.spec.sweep import Sweep, load_jobs
from tilefarm.spec.values import is_name

HEAD = "content: a.jpg\nstyle: b.jpg\noutput: {path: out/p.tif}\n"
PICTURES = ("a.jpg", "b.jpg", "photos/one.jpg", "photos/two.jpg", "photos/note.txt", "[x].jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in PICTURES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def load(folder: Path, text: str, *overrides: str) -> Sweep:
    (folder / "gate.yaml").write_text(text, encoding="utf-8")
    return load_jobs(folder / "gate.yaml", overrides)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(JobError) as error:
        load(folder, text, *overrides)
    return [problem.removeprefix(f"{folder / 'gate.yaml'}") for problem in error.value.problems]


# what is made


def test_the_product_in_the_order_of_the_file(folder: Path) -> None:
    sweep = load(folder, f"{HEAD}matrix:\n  seed: [7, 3]\n  styles.0.scale: [1, 2.5, 0.5]\n")
    assert [(job.seed, job.styles[0].scale) for job in sweep.jobs] == [
        *((7, 1.0), (7, 2.5), (7, 0.5)),
        *((3, 1.0), (3, 2.5), (3, 0.5)),
    ]
    assert [job.name for job in sweep.jobs[:2]] == ["gate-seed-7-scale-1", "gate-seed-7-scale-2.5"]
    assert sweep.jobs[1].output.path == folder / "out/p-seed-7-scale-2.5.tif"
    assert sweep.name == "gate"
    assert [(one.label, one.values) for one in sweep.varied] == [
        ("seed", ("7", "3")),
        ("scale", ("1", "2.5", "0.5")),
    ]
    assert sweep.picks[4] == (1, 1)


def test_each_run_is_the_job_that_one_would_write_by_hand(folder: Path) -> None:
    sweep = load(folder, f"{HEAD}matrix: {{objective.style_weight: [0.5, 2], pyramid.iterations: [[9, 4]]}}")
    text = "name: x\n" + HEAD + "objective: {style_weight: 2}\npyramid: {iterations: [9, 4]}\n"
    (folder / "hand.yaml").write_text(text)
    by_hand = load_job(folder / "hand.yaml")
    ours = sweep.jobs[1]
    assert fingerprint(ours) == fingerprint(by_hand) != fingerprint(sweep.jobs[0])
    assert ours == by_hand.model_copy(update={"name": ours.name, "output": ours.output})
    (folder / "resolved.yaml").write_text(to_yaml(ours))
    assert load_job(folder / "resolved.yaml") == ours, "a run folder's job has no trace of the matrix"


def test_an_ordinary_job_is_one_run_as_ever(folder: Path) -> None:
    sweep = load(folder, HEAD)
    assert sweep.jobs == (load_job(folder / "gate.yaml"),)
    assert (sweep.varied, sweep.picks) == ((), ((),))


def test_the_name_fills_the_placeholder(folder: Path) -> None:
    text = "content: a.jpg\nstyle: b.jpg\noutput:\n  path: out/{name}/{name}.png\n"
    (one,) = load(folder, text).jobs
    assert one.output.path == folder / "out/gate/gate.png"
    first, _ = load(folder, text + "matrix: {method: [exact, feathered]}").jobs
    assert first.output.path == folder / "out/gate-method-exact/gate-method-exact.png"


def test_patterns_stand_for_files_in_order_of_name(folder: Path) -> None:
    text = "content: photos/*.jpg\nstyle: b.jpg\noutput: {path: out/p.tif}\nmatrix: {seed: [1, 2]}\n"
    sweep = load(folder, text)
    assert [(job.content.name, job.seed) for job in sweep.jobs] == [
        *(("one.jpg", 1), ("one.jpg", 2)),
        *(("two.jpg", 1), ("two.jpg", 2)),
    ]
    assert sweep.jobs[0].name == "gate-one-seed-1"
    assert sweep.varied[0].values == ("one.jpg", "two.jpg")
    layers = "{relu1_1: 1, relu2_1: 0.5}"
    (shown,) = load(folder, HEAD + f"matrix: {{objective.style_layers: [{layers}]}}").varied
    assert shown.values == (layers,)
    inside = load(folder, HEAD + "matrix: {content: [a.jpg, 'photos/t*.jpg'], style: '*.jpg'}")
    assert [job.content.name for job in inside.jobs[::3]] == ["a.jpg", "two.jpg"]
    assert [job.styles[0].image.name for job in inside.jobs[:3]] == ["[x].jpg", "a.jpg", "b.jpg"]


def test_a_file_with_a_patterns_name_is_that_file(folder: Path) -> None:
    (job,) = load(folder, HEAD.replace("a.jpg", "'[x].jpg'")).jobs
    assert job.content == folder / "[x].jpg"
    assert job.name == "gate"


def test_a_style_and_its_scale_vary_together(folder: Path) -> None:
    for head in (HEAD, HEAD.replace("style: b.jpg\n", "")):
        sweep = load(folder, head + "matrix: {styles.0.scale: [1, 2], style: [a.jpg, b.jpg]}")
        assert [(job.styles[0].scale, job.styles[0].image.name) for job in sweep.jobs] == [
            *((1.0, "a.jpg"), (1.0, "b.jpg")),
            *((2.0, "a.jpg"), (2.0, "b.jpg")),
        ]


@pytest.mark.parametrize("style", ["style: b.jpg\n", ""])
def test_a_varied_style_keeps_what_the_command_line_sets(folder: Path, style: str) -> None:
    text = HEAD.replace("style: b.jpg\n", style) + "matrix: {style: [a.jpg, b.jpg]}"
    sweep = load(folder, text, "styles.0.scale=2")
    assert [(job.styles[0].image.name, job.styles[0].scale) for job in sweep.jobs] == [
        ("a.jpg", 2.0),
        ("b.jpg", 2.0),
    ]
    assert [job.name for job in sweep.jobs] == ["gate-a", "gate-b"]


def test_a_varied_style_keeps_the_other_keys_of_the_file(folder: Path) -> None:
    styles = "styles: [{image: a.jpg, scale: 2, weight: 3, mask: a.jpg, style_mask: b.jpg}]\n"
    sweep = load(folder, HEAD.replace("style: b.jpg\n", styles) + "matrix: {style: [a.jpg, '[x].jpg']}")
    for job, name in zip(sweep.jobs, ("a.jpg", "[x].jpg"), strict=True):
        (one,) = job.styles
        assert (one.image, one.scale, one.weight) == (folder / name, 2.0, 3.0)
        assert (one.mask, one.style_mask) == (folder / "a.jpg", folder / "b.jpg")


def test_a_pattern_for_a_style_from_the_command_line(folder: Path) -> None:
    for override in ("style=photos/*.jpg", "styles.0.image=photos/*.jpg"):
        sweep = load(folder, HEAD, override, "styles.0.scale=2")
        assert [(job.styles[0].image.name, job.styles[0].scale) for job in sweep.jobs] == [
            ("one.jpg", 2.0),
            ("two.jpg", 2.0),
        ]


def test_the_command_line_sets_and_varies(folder: Path) -> None:
    sweep = load(folder, HEAD, "matrix.tiles.size=[128, 256]", "seed=4")
    assert [(job.tiles.size, job.seed) for job in sweep.jobs] == [(128, 4), (256, 4)]


def test_a_run_keeps_its_name_when_the_matrix_grows(folder: Path) -> None:
    before = load(folder, HEAD + "matrix: {seed: [1, 2]}")
    after = load(folder, HEAD + "matrix: {seed: [0, 1, 2, 3]}")
    assert {(job.name, job.output.path) for job in before.jobs} < {
        (job.name, job.output.path) for job in after.jobs
    }


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 2**60),
    "objective.style_weight": st.floats(0, 1e300, allow_subnormal=False),
    "styles.0.scale": st.floats(0.05, 8),
    "tiles.size": st.sampled_from(["auto", *range(64, 512, 16)]),
    "pyramid.iterations": st.lists(st.integers(1, 1000), min_size=1, max_size=20),
    "tiles.drift_correction": st.booleans(),
    "content": st.sampled_from(["a.jpg", "photos/one.jpg", "[x].jpg", "./a.jpg"]),
}


@st.composite
def matrices(draw: st.DrawFn) -> dict[str, list[Any]]:
    keys = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4, unique=True))
    return {
        key: draw(
            st.lists(
                VALUES[key],
                min_size=1,
                max_size=3,
                unique_by=lambda v: repr(float(v)) if isinstance(v, int) else repr(v),
            )
        )
        for key in keys
    }


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(matrix=matrices(), name=st.sampled_from(["g", "g" * 80, "A.b-c_9"]))
def test_any_matrix(folder: Path, matrix: dict[str, list[Any]], name: str) -> None:
    sweep = load(folder, f"name: {name}\n{HEAD}" + yaml.safe_dump({"matrix": matrix}, sort_keys=False))
    assert len(sweep.jobs) == math.prod(map(len, matrix.values()))
    for names in ({job.name.lower() for job in sweep.jobs}, {str(j.output.path).lower() for j in sweep.jobs}):
        assert len(names) == len(sweep.jobs), "unique also where upper and lower case are one"
    assert all(is_name(job.name) for job in sweep.jobs)
    expected = list(itertools.product(*matrix.values()))
    for job, values in zip(sweep.jobs, expected, strict=True):
        data = yaml.safe_load(to_yaml(job))
        for key, value in zip(matrix, values, strict=True):
            place: Any = data
            for part in key.split("."):
                place = place[int(part) if part.isdecimal() else part]
            assert place == (str((folder / value).absolute()) if key == "content" else value)


def test_files_of_the_same_stem_do_not_share_a_name(folder: Path) -> None:
    (folder / "photos/A.png").write_text("")
    sweep = load(folder, HEAD + "matrix: {content: [a.jpg, photos/A.png]}")
    assert sweep.jobs[0].name == "gate-a"
    assert sweep.jobs[1].name.startswith("gate-A-")
    assert sweep.jobs[0].output.path != sweep.jobs[1].output.path


# mistakes


def test_every_mistake_once_with_its_line(folder: Path) -> None:
    text = (
        "content: a.jpg\nstyle: b.jpg\noutput: {path: p.bmp}\nseed: -4\nmatrix:\n"
        "  objective.style_weight:\n    - 1\n    - -1\n  tiles.size: [64, 100]\n"
        "  objectiv.tv_weight: [1, 2]\n  styles.3.scale: [1]\n"
    )
    told = problems(folder, text)
    assert len(told) == len(set(told)) == 6
    for start in (
        ", line 3: output.path must end in",
        ", line 4: seed must be at least 0, got -4",
        ", line 8: objective.style_weight must be at least 0, got -1",
        ", line 9: tiles.size must be a multiple of 16, got 100",
        ", line 10: 'objectiv' is not a key of a job; did you mean 'objective'?",
        ", line 11: styles is a list whose entries are numbered 0 to 0, got 3",
    ):
        assert any(one.startswith(start) for one in told), start


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ("matrix:", ", line 4: matrix must be a mapping of keys to lists of values"),
        ("matrix: {}", "got an empty mapping"),
        ("matrix: [1]", "got a list"),
        ("matrix: {seed: 3}", ", line 4: matrix.seed must be a list of values, got 3"),
        ("matrix: {seed: []}", "matrix.seed must have at least one value"),
        ("matrix: {seed: [1, 1.0]}", "matrix.seed holds 1.0 twice"),
        ("matrix: {name: [x, y]}", "matrix cannot vary name"),
        ("matrix: {output.path: [x.tif]}", "matrix cannot vary output.path; write {name} in it"),
        ("matrix: {output: [{path: x.tif}]}", "matrix cannot vary output;"),
        ("matrix: {tiles.: [1]}", "the keys of matrix are keys of the job"),
        ("matrix: {tiles.size: [64], tiles: [{rounds: 1}]}", "tiles and tiles.size vary the same key"),
        ("matrix: {content: 'none/*.jpg'}", ", line 4: content matches no file, got 'none/*.jpg'"),
        ("matrix: {content: [missing.jpg]}", ", line 4: content names a file that does not exist"),
        ("matrix: {seed: [1, 2], tiles.rounds: [x]}", ", line 4: tiles.rounds must be a whole number"),
    ],
)
def test_mistakes_of_the_matrix(folder: Path, matrix: str, says: str) -> None:
    (told,) = problems(folder, f"{HEAD}{matrix}\n")
    assert says in told


def test_at_most_a_thousand_runs(folder: Path) -> None:
    numbers = ", ".join(map(str, range(1, 101)))
    matrix = f"matrix: {{seed: [{numbers}], tiles.rounds: [{numbers}]}}"
    (told,) = problems(folder, HEAD + matrix)
    assert told.endswith("the matrix makes 100 x 100 = 10000 runs, and may make 1000 at most")


def test_a_pattern_without_a_match(folder: Path) -> None:
    (told,) = problems(folder, HEAD.replace("a.jpg", "photos/*.png"))
    assert told.startswith(", line 1: content matches no file, got 'photos/*.png'")
    (told,) = problems(folder, HEAD.replace("style: b.jpg", "styles:\n  - {image: none*}\n"))
    assert told.startswith(", line 3: styles.0.image matches no file")


def test_what_is_varied_cannot_be_set(folder: Path) -> None:
    (told,) = problems(folder, HEAD + "matrix: {seed: [1, 2]}", "seed=3")
    assert told.startswith("--set seed=3: seed is varied by ")
    assert "line 4" in told


@pytest.mark.parametrize(
    ("varied", "override"),
    [
        ("style", "styles.0.image=a.jpg"),
        ("style", "styles=[{image: a.jpg}]"),
        ("styles.0.image", "style=a.jpg"),
    ],
)
def test_a_varied_style_cannot_be_set_in_its_other_form(folder: Path, varied: str, override: str) -> None:
    (told,) = problems(folder, f"{HEAD}matrix: {{{varied}: [a.jpg, b.jpg]}}", override)
    assert told.startswith(f"--set {override}: {varied} is varied by ")
    assert "leave one of them out" in told


@pytest.mark.parametrize(
    ("style", "varied"),
    [
        ("style: '[ab].jpg'\n", "styles.0.image"),
        ("styles: [{image: '[ab].jpg', scale: 2}]\n", "style"),
        ("", "styles.0.image: [b.jpg], style"),
    ],
)
def test_a_style_is_varied_once_in_whichever_form(folder: Path, style: str, varied: str) -> None:
    told = problems(folder, HEAD.replace("style: b.jpg\n", style) + f"matrix: {{{varied}: [a.jpg]}}")
    assert [one for one in told if "vary the same key; keep one of them" in one] == told
    assert "style " in told[0]
    assert "styles.0.image" in told[0]


def test_a_varied_style_is_a_jobs_one_style(folder: Path) -> None:
    text = HEAD.replace("style: b.jpg", "styles: [{image: a.jpg}, {image: b.jpg, scale: 2}]")
    (told,) = problems(folder, text + "matrix:\n  style: [a.jpg,\n    b.jpg]")
    assert told == (
        ", line 5: style is the picture of a job's one style, but styles has 2 entries; "
        "name one of them, such as styles.0.image"
    )
    sweep = load(folder, text + "matrix: {styles.1.image: [a.jpg, b.jpg]}")
    assert [[style.image.name for style in job.styles] for job in sweep.jobs] == [
        ["a.jpg", "a.jpg"],
        ["a.jpg", "b.jpg"],
    ]


def test_a_pattern_for_style_does_not_replace_styles(folder: Path) -> None:
    text = HEAD.replace("b.jpg", "photos/*.jpg") + "styles: [{image: a.jpg, scale: 2}]\n"
    (told,) = problems(folder, text)
    assert told == ", line 2: style cannot be given together with styles; keep only one of them"


def written_by_runs(runs: Path) -> None:
    for name in ("gate-sheet.jpg", "gate-a-12345678/levels/level-1.jpg", "gate-a-12345678/losses.jpg"):
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_text("")


@pytest.mark.parametrize("pattern", ["*/*.jpg", "**/*.jpg", "{folder}/**/*.jpg"])
def test_patterns_pass_over_what_earlier_submissions_left(folder: Path, pattern: str) -> None:
    text = f"content: '{pattern.format(folder=folder)}'\nstyle: b.jpg\noutput: {{path: out/p.tif}}\n"
    first = load(folder, text)
    written_by_runs(folder / "runs")
    assert load(folder, text) == first
    assert len(first.jobs) > 1


def test_patterns_pass_over_the_folder_that_the_runs_are_kept_in(folder: Path) -> None:
    text = "content: '*/*.jpg'\nstyle: b.jpg\noutput: {path: out/p.tif}\n"
    first = load(folder, text)
    written_by_runs(folder / "kept")
    (folder / "linked").symlink_to("kept")
    for runs in (folder / "kept", folder / "linked"):
        assert load_jobs(folder / "gate.yaml", run_dir=runs) == first
    shutil.rmtree(folder / "kept")
    # A folder that holds the job file as well holds its pictures, too.
    assert load_jobs(folder / "gate.yaml", run_dir=folder) == first


def test_a_link_to_a_picture_of_a_run_is_found(folder: Path) -> None:
    written_by_runs(folder / "runs")
    (folder / "photos/level.jpg").symlink_to(folder / "runs/gate-a-12345678/levels/level-1.jpg")
    sweep = load(folder, HEAD.replace("a.jpg", "photos/*.jpg"))
    assert [job.content.name for job in sweep.jobs] == ["level.jpg", "one.jpg", "two.jpg"]


def test_a_pattern_that_matches_runs_alone(folder: Path) -> None:
    written_by_runs(folder / "runs")
    (told,) = problems(folder, HEAD.replace("a.jpg", "runs/*.jpg"))
    assert told == (
        f", line 1: content matches only files below {str(folder / 'runs')!r}, where the runs are kept, "
        "got 'runs/*.jpg'; name pictures in another folder"
    )


def test_runs_do_not_read_their_proofs(folder: Path) -> None:
    (folder / "press.icc").write_text("")
    text = "content: '{pattern}'\nstyle: b.jpg\noutput: {{path: '{path}', proof: press.icc}}\n"
    (folder / "photos/three.png").write_text("")
    (told,) = problems(folder, text.format(pattern="photos/*.png", path="photos/p.tif"))
    assert "the pattern 'photos/*.png' would match the pictures that the runs write" in told
    (folder / "p-a-proof.png").write_text("")
    named = "content: a.jpg\nstyle: b.jpg\noutput: {path: p.tif, proof: press.icc}\n"
    (told,) = problems(folder, named + "matrix: {content: [a.jpg, p-a-proof.png]}")
    assert "a run would overwrite" in told
    assert "p-a-proof.png" in told
    assert len(load(folder, text.format(pattern="photos/*.png", path="out/p.tif")).jobs) == 1


def test_runs_do_not_write_what_runs_read(folder: Path) -> None:
    text = "content: photos/*.jpg\nstyle: b.jpg\noutput:\n  path: photos/{name}.jpg\n"
    (told,) = problems(folder, text)
    assert "the pattern 'photos/*.jpg' would match the pictures that the runs write" in told
    (folder / "p-a.jpg").write_text("")
    text = "content: p-a.jpg\nstyle: b.jpg\noutput: {path: p.jpg}\nmatrix: {style: [a.jpg, b.jpg]}"
    assert any("would overwrite" in one for one in problems(folder, text))


def test_one_run_commands_refuse_a_matrix(folder: Path) -> None:
    load(folder, HEAD + "matrix: {seed: [1]}")
    with pytest.raises(JobError, match="has a matrix, and this takes a job of one run"):
        load_job(folder / "gate.yaml")


def test_films_are_the_runs_own(folder: Path) -> None:
    for written in ("film.gif", "{path: film.gif}", "'{name}.gif'"):
        path = folder / "job.yaml"
        path.write_text(
            "content: a.jpg\nstyle: a.jpg\noutput: {path: out.png}\n"
            f"animation: {written}\nmatrix: {{seed: [1, 2]}}\n"
        )
        films = [job.animation.path.name for job in load_jobs(path).jobs if job.animation]
        assert len(set(films)) == 2
        assert all("1" in films[0] and film.endswith(".gif") for film in films)


def test_no_run_writes_a_start_or_a_mask_of_another(folder: Path) -> None:
    path = folder / "job.yaml"
    path.write_text(
        "content: a.jpg\nstyles: [{image: a.jpg, mask: out-init-noise.png}]\n"
        "output: {path: out.png}\nmatrix: {init: [noise, content]}\n"
    )
    shutil.copyfile(folder / "a.jpg", folder / "out-init-noise.png")
    with pytest.raises(JobError, match="would overwrite"):
        load_jobs(path)


def test_files_are_called_by_their_names_without_folders(folder: Path) -> None:
    for name in ("in/sky.png", "other/sky.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    load(folder, HEAD + "matrix: {init: [noise, in/sky.png], styles.0.mask: [in/sky.png, other/sky.png]}")
    sweep = load_jobs(folder / "gate.yaml")
    assert [one.values for one in sweep.varied] == [("noise", "sky.png"), ("sky.png", "sky.png")]
    names = [job.name for job in sweep.jobs]
    assert names[0] == "gate-init-noise-mask-sky"
    assert names[2] == "gate-init-sky-mask-sky"
    assert names[1].startswith("gate-init-noise-mask-sky-")  # another file of the same name
    assert len(set(names)) == 4
