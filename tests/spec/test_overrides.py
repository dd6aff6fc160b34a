"""`--set key.path=value`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilefarm.errors import JobError
from tilefarm.geometry import Size
from tilefarm.spec.load import load_job
from tilefarm.spec.sweep import load_jobs

TEXT = "content: a.jpg\nstyle: b.jpg\noutput: {path: c.png, width: 100}\ntiles: {size: 256}\n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"x")
    path = tmp_path / "job.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def problems(job: Path, *overrides: str) -> list[str]:
    with pytest.raises(JobError) as caught:
        load_job(job, overrides)
    return [problem.replace(str(job), "job.yaml") for problem in caught.value.problems]


def test_values_are_yaml(job: Path) -> None:
    made = load_job(
        job,
        [
            "tiles.size=512",
            "pyramid.iterations=[10,5]",
            "network={pooling: average}",
            "output.path=x.tif",
            "name=b=c"[:6],
        ],
    )
    assert made.tiles.size == 512
    assert made.pyramid.iterations == (10, 5)
    assert made.network.pooling == "average"
    assert made.output.path == job.parent / "x.tif"
    assert made.output.width == 100
    assert made.name == "b"


def test_the_last_one_wins(job: Path) -> None:
    assert load_job(job, ["seed=1", "seed=2"]).seed == 2


def test_whole_sections_and_keys_in_new_sections(job: Path) -> None:
    made = load_job(job, ["tiles={rounds: 5}", "objective.style_weight=2", "tiles.batch=4"])
    assert (made.tiles.size, made.tiles.rounds, made.tiles.batch) == ("auto", 5, 4)
    assert made.objective.style_weight == 2.0


def test_a_layer_of_the_default_is_not_set_alone(job: Path) -> None:
    (problem,) = problems(job, "objective.style_layers.relu2_1=2")
    assert "its other layers would be lost" in problem
    named = load_job(
        job, ["objective.style_layers={relu1_1: 1, relu2_1: 1}", "objective.style_layers.relu2_1=2"]
    )
    assert named.objective.style_layers == (("relu1_1", 1.0), ("relu2_1", 2.0))


@pytest.mark.parametrize(
    ("override", "size"),
    [
        ("output.height=50", Size(100, 50)),
        ("output.long_side=80", Size(80, 40)),
        ("output.print={width: 1in, height: 1in, dpi: 60}", Size(60, 60)),
        ("output.width=20", Size(20, 10)),
        ("output.width=", Size(400, 200)),
    ],
)
def test_a_size_replaces_the_one_of_the_file(job: Path, override: str, size: Size) -> None:
    assert load_job(job, [override]).output.target(Size(400, 200)).size == size


def test_keys_of_a_print_may_come_one_by_one(job: Path) -> None:
    made = load_job(job, ["output.print.width=1in", "output.print.height=2in", "output.dpi=50"])
    assert made.output.print_size == Size(50, 100)


def test_two_sizes_on_the_command_line_are_a_mistake(job: Path) -> None:
    [problem] = problems(job, "output.height=50", "output.long_side=50")
    assert problem.startswith(
        "--set output.long_side=50: output.long_side cannot be given together with output.height"
    )


def test_style_replaces_styles_and_the_other_way_round(job: Path) -> None:
    (job.parent / "d.jpg").write_bytes(b"d")
    assert [style.image.name for style in load_job(job, ["styles=[{image: d.jpg}]"]).styles] == ["d.jpg"]
    job.write_text(TEXT.replace("style: b.jpg", "styles: [{image: b.jpg}, {image: d.jpg}]"), encoding="utf-8")
    assert len(load_job(job).styles) == 2
    assert [style.image.name for style in load_job(job, ["style=d.jpg"]).styles] == ["d.jpg"]
    assert [style.weight for style in load_job(job, ["styles.1.weight=3"]).styles] == [1.0, 3.0]
    [problem] = problems(job, "style=d.jpg", "styles=[{image: b.jpg}]")
    assert problem.startswith("--set style=d.jpg: style cannot be given together with styles")


def test_styles_by_number_also_mean_the_one_style_of_the_short_form(job: Path) -> None:
    [style] = load_job(job, ["styles.0.weight=2"]).styles
    assert (style.image.name, style.weight) == ("b.jpg", 2.0)


def test_a_style_and_its_keys_may_come_one_by_one(job: Path) -> None:
    (job.parent / "d.jpg").write_bytes(b"d")
    for text in (TEXT, TEXT.replace("style: b.jpg\n", "")):
        job.write_text(text)
        for overrides in (["style=d.jpg", "styles.0.scale=2"], ["styles.0.scale=2", "style=d.jpg"]):
            [style] = load_job(job, overrides).styles
            assert (style.image.name, style.scale) == ("d.jpg", 2.0)
    [problem] = problems(job, "style=no.jpg", "styles.0.scale=2")
    assert problem.startswith("--set style=no.jpg: styles.0.image names a file that does not exist")


def test_a_style_that_could_be_one_of_several(job: Path) -> None:
    job.write_text(TEXT.replace("style: b.jpg", "styles: [{image: b.jpg}, {image: a.jpg}]"))
    [problem] = problems(job, "style=a.jpg", "styles.0.scale=2")
    assert problem == (
        "--set style=a.jpg: style is the picture of a job's one style, but styles has 2 entries; "
        "name one of them, such as styles.0.image"
    )


def test_all_styles_and_the_one_style_exclude_each_other_as_ever(job: Path) -> None:
    told = problems(job, "style=a.jpg", "styles=[{image: b.jpg}]", "styles.0.scale=2")
    assert any("style cannot be given together with styles" in one for one in told)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("tiles.sise=3", "'tiles.sise' is not a key of tiles; did you mean 'size'?"),
        ("tiles.size=500", "tiles.size must be a multiple of 16, got 500; the nearest are 496 and 512"),
        (
            "tiles=3",
            "tiles must be a mapping with the keys size, rounds, iterations, batch, drift_correction, got 3",
        ),
        ("tiles={size: 500}", "tiles.size must be a multiple of 16, got 500; the nearest are 496 and 512"),
        ("tiles.size.x=3", "tiles.size is a single value and has no keys"),
        ("styles.1.weight=3", "styles is a list whose entries are numbered 0 to 0, got 1"),
        ("styles.first.weight=3", "styles is a list whose entries are numbered 0 to 0, got 'first'"),
        (
            "objective.style_layers.6=1",
            "objective.style_layers.6 is not a layer of vgg19; it has relu1_1, relu1_2, "
            "relu2_1, relu2_2, relu3_1, relu3_2, relu3_3, relu3_4, relu4_1, relu4_2, "
            "relu4_3, relu4_4, relu5_1, relu5_2, relu5_3, relu5_4",
        ),
        ("nonsense", "must have the form key.path=value, for example tiles.size=256"),
        ("=3", "must have the form key.path=value, for example tiles.size=256"),
        ("tiles..size=3", "must have the form key.path=value, for example tiles.size=256"),
        (
            "seed=!!python/name:os.system",
            "the tag '!!python/name:os.system' is not allowed in a job file; write a plain value",
        ),
        ("output.bit_depth=12", "output.bit_depth must be 8 or 16, got 12"),
        (
            "network.name=vgg16",
            "network.weights must be torchvision or the path of a weights file for vgg16; "
            "the bundled weights, which are the default, exist only for vgg19",
        ),
    ],
)
def test_mistakes_name_the_override(job: Path, override: str, sentence: str) -> None:
    expected = f"--set {override}: {sentence}"
    if override == "network.name=vgg16":
        expected = f"job.yaml: {sentence}"  # the weights were not written anywhere
    assert problems(job, override) == [expected]


def test_syntax_errors_in_a_value(job: Path) -> None:
    [problem] = problems(job, "pyramid.iterations=[10,")
    assert problem.startswith("--set pyramid.iterations=[10,, line 1, column ")


def test_missing_inputs_of_overrides(job: Path) -> None:
    [problem] = problems(job, "content=no.jpg")
    assert problem.startswith("--set content=no.jpg: content names a file that does not exist")
    [problem] = problems(job, "output.path=a.jpg")
    assert problem.startswith("--set output.path=a.jpg: output.path would overwrite content")


@pytest.mark.parametrize(
    ("more", "override", "wanted"),
    [
        ("color: content_luma", "color.when=every_level", "color={mode: content_luma, when: every_level}"),
        ("alpha: keep", "alpha.background=black", "alpha={mode: keep, background: black}"),
        ("snapshots: 7", "snapshots.long_side=100", "snapshots={every: 7, long_side: 100}"),
        ("animation: film.gif", "animation.seconds=3", "animation={path: film.gif, seconds: 3}"),
        (
            "objective: {style_statistics: mean_std}",
            "objective.style_statistics.remap=0.5",
            "objective.style_statistics={mean: 1, std: 1, remap: 0.5}",
        ),
    ],
)
def test_a_key_of_a_section_in_its_short_form(job: Path, more: str, override: str, wanted: str) -> None:
    job.write_text(TEXT)
    long = load_job(job, [wanted])
    job.write_text(f"{TEXT}{more}\n")
    assert load_job(job, [override]) == long


def test_a_key_of_a_proof_in_its_short_form(job: Path) -> None:
    (job.parent / "press.icc").write_bytes(b"x")
    long = load_job(job, ["output.proof={profile: press.icc, intent: perceptual}"])
    job.write_text(TEXT.replace("width: 100", "width: 100, proof: press.icc"))
    assert load_job(job, ["output.proof.intent=perceptual"]) == long
    swept = load_jobs(job, ["matrix.output.proof.paper_white=[true, false]"]).jobs
    assert [one.output.proof and one.output.proof.paper_white for one in swept] == [True, False]


def test_a_statistic_is_not_set_beside_a_default_that_would_be_lost(job: Path) -> None:
    (problem,) = problems(job, "objective.style_statistics.remap=0.5")
    assert "objective.style_statistics is not in the file, and its other statistics would be lost" in problem


def test_short_forms_that_are_wrong_are_told_by_their_own_rule(job: Path) -> None:
    job.write_text(f"{TEXT}color: content_lima\n")
    (problem,) = problems(job, "color.when=after")
    assert "color.mode must be" in problem
    assert "did you mean 'content_luma'?" in problem
    job.write_text(f"{TEXT}objective: {{style_statistics: grum}}\n")
    told = " ".join(problems(job, "objective.style_statistics.remap=1"))
    assert "did you mean 'gram'?" in told
    assert "objective.style_statistics is a single value and has no keys" in told
