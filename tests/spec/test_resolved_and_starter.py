"""Job files that we write: the resolved one of a run folder and the starter of `tilefarm init`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilefarm.errors import JobError
from tilefarm.spec.alpha import Alpha
from tilefarm.spec.load import load_job
from tilefarm.spec.making import Animation, Snapshots
from tilefarm.spec.model import Color, Compute, Job, Network, Objective, Optimizer, Pyramid, Style, Tiles
from tilefarm.spec.networks import layer_names
from tilefarm.spec.output import Output
from tilefarm.spec.paper import Print
from tilefarm.spec.resolved import to_yaml
from tilefarm.spec.section import Section
from tilefarm.spec.starter import starter_job

INPUTS = ("a.jpg", "on", "09", "1e3", "# ä: 'x' \"y\" 🎨 \n z .png", "true")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*INPUTS, "w.pt"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


positive = st.floats(1e-300, 1e300)
weights = st.floats(0, 1e300)
images = st.sampled_from(INPUTS)
lengths = st.builds(
    "{}{}".format,
    st.decimals(2, 50, places=3).map(lambda d: f"{d:f}") | st.integers(2, 60),
    st.sampled_from(["cm", "in"]),
)


def layers(network: str) -> st.SearchStrategy[dict[str, float]]:
    names = st.sampled_from(layer_names(network))
    return st.dictionaries(names, weights, min_size=1, max_size=16).filter(lambda found: any(found.values()))


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


sizes: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.builds(dict, width=st.integers(1, 300_000)),
    st.builds(dict, height=st.integers(1, 300_000)),
    st.builds(dict, long_side=st.integers(1, 300_000), dpi=st.floats(1, 9600)),
    st.builds(
        dict,
        print=st.builds(
            lambda need, more: need | more,
            st.fixed_dictionaries({"width": lengths, "height": lengths}),
            some(dpi=st.floats(1, 5000)),
        ),
    ),
)
outputs = st.builds(
    lambda path, size, depth, proof: {"path": path, "bit_depth": depth, "proof": proof} | size,
    st.sampled_from(["out/x.tif", "no.PNG", "true.tiff"]),
    sizes,
    st.sampled_from([8, 16, None]),
    st.sampled_from([None, "w.pt", {"profile": "w.pt", "intent": "perceptual", "paper_white": True}]),
)
networks = st.sampled_from(
    [
        {"name": "vgg19"},
        {"name": "vgg16", "weights": "torchvision", "pooling": "average"},
        {"name": "vgg16", "weights": "w.pt", "preprocessing": "caffe"},
        {"name": "vgg19", "weights": "w.pt", "padding": "reflect"},
        {"name": "squeezenet", "weights": "w.pt", "pooling": "l2"},
    ]
)


@st.composite
def job_files(draw: st.DrawFn) -> dict[str, Any]:
    network = draw(networks)
    styles = st.fixed_dictionaries(
        {"image": images}, optional={"weight": positive, "scale": st.floats(0.05, 8)}
    )
    objective = some(
        content_weight=positive,
        style_weight=weights,
        tv_weight=weights,
        content_layers=layers(network["name"]),
        style_layers=layers(network["name"]),
        style_target=st.sampled_from(["whole", "crop"]),
        units=st.sampled_from(["relative", "absolute", "averaged"]),
        tv_exponent=st.floats(1, 3),
    )
    rest = some(
        objective=objective,
        pyramid=some(
            smallest=st.integers(64, 2048),
            iterations=st.lists(st.integers(1, 100_000), min_size=1, max_size=20),
        ),
        tiles=some(
            size=st.integers(4, 256).map(lambda n: 16 * n), batch=st.integers(1, 256) | st.just("auto")
        ),
        optimizer=st.one_of(
            some(history=st.integers(1, 200)),
            st.just({"name": "cg"}),
            st.builds(
                lambda keys: {"name": "adam"} | keys,
                some(
                    step_size=st.floats(1e-6, 1),
                    betas=st.lists(st.floats(0, 0.9999), min_size=2, max_size=2),
                    averaging=st.floats(0, 0.9999),
                ),
            ),
        ),
        init=st.sampled_from(["content", "style_statistics", "./a.jpg", "on"]),
        init_noise=st.floats(0, 1),
        color=st.sampled_from(
            ["content_luma", {"mode": "statistics"}, {"mode": "statistics", "when": "after"}]
        ),
        seed=st.integers(0, 2**63 - 1),
        compute=some(
            device=st.sampled_from(["auto", "cpu", "cuda:3"]),
            workers=st.integers(1, 4096),
            memory=st.integers(1, 2**50) | st.sampled_from(["1.5GiB", "7MB"]),
        ),
        snapshots=st.integers(0, 100_000) | some(every=st.integers(0, 9), long_side=st.integers(720, 4096)),
        animation=st.sampled_from(
            [None, "a.gif", "b/c.MP4", {"path": "d.gif", "long_side": 64, "seconds": 3, "level": 2}]
        ),
    )
    names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,9}", fullmatch=True)
    return {
        "name": draw(names | st.sampled_from(["on", "09", "1e3", "null", "0x1", "1.5", "60", "true"])),
        "content": draw(images),
        "styles": draw(st.lists(styles, min_size=1, max_size=3)),
        "output": draw(outputs),
        "network": network,
    } | draw(rest)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=job_files())
def test_resolved_jobs_load_as_the_same_job(folder: Path, data: dict[str, Any]) -> None:
    first, second = folder / "first.yaml", folder / "elsewhere" / "second.yaml"
    second.parent.mkdir(exist_ok=True)
    first.write_text(yaml.safe_dump(data), encoding="utf-8")
    job = load_job(first, kept=True)
    second.write_text(to_yaml(job), encoding="utf-8")
    assert load_job(second, kept=True) == job


def keys_of_the_model() -> set[str]:
    sections: list[type[Section]] = [
        Job,
        Style,
        Output,
        Print,
        Network,
        Objective,
        Pyramid,
        Tiles,
        Optimizer,
        Color,
        Compute,
        Snapshots,
        Animation,
        Alpha,
    ]
    return {key for section in sections for key in section.model_fields}


def test_resolved_jobs_have_all_keys_and_absolute_paths(folder: Path) -> None:
    path = folder / "job.yaml"
    path.write_text(
        "content: a.jpg\nstyle: a.jpg\noutput: {path: b.tif, print: {width: 4cm, height: 30mm}}\n"
        "animation: c.gif\n",
        encoding="utf-8",
    )
    data = yaml.safe_load(to_yaml(load_job(path)))
    assert data["content"] == str(folder / "a.jpg")
    whole = {"weight": 1.0, "scale": 1.0, "mask": None, "style_mask": None}
    assert data["styles"] == [{"image": str(folder / "a.jpg"), **whole}]
    assert data["output"]["path"] == str(folder / "b.tif")
    assert data["output"]["print"] == {
        "width": "4cm",
        "height": "30mm",
        "dpi": None,
        "bleed": "0mm",
        "fit": "crop",
        "pad": "mirror",
    }
    assert (data["output"]["dpi"], data["output"]["bit_depth"]) == (300.0, 16)
    assert data["animation"]["path"] == str(folder / "c.gif")
    assert data["objective"]["content_layers"] == {"relu4_2": 1.0}
    written = set(data) | {key for part in data.values() if isinstance(part, dict) for key in part}
    written |= set(data["styles"][0]) | set(data["output"]["print"])
    assert written == keys_of_the_model()


@pytest.mark.parametrize("output", ["out/c.tif", "c.png", "c.JPG"])
@pytest.mark.parametrize("content", INPUTS)
def test_starter_gives_exactly_the_defaults(folder: Path, content: str, output: str) -> None:
    text = starter_job(folder / content, folder / "a.jpg", folder / output, folder)
    short = {"content": content, "style": "a.jpg", "output": {"path": output}}
    (folder / "job.yaml").write_text(text, encoding="utf-8")
    job = load_job(folder / "job.yaml")
    (folder / "job.yaml").write_text(yaml.safe_dump(short), encoding="utf-8")
    assert job == load_job(folder / "job.yaml")
    assert str(folder) not in text


def test_starter_shows_every_key(folder: Path) -> None:
    text = starter_job(folder / "a.jpg", folder / "a.jpg", folder / "c.tif", folder)
    shown = set(re.findall(r"\b(\w+):(?: |$)", text, flags=re.MULTILINE))
    assert shown >= keys_of_the_model()
    written = {line.split(":")[0].strip() for line in text.splitlines() if not line.strip().startswith("#")}
    absent = {
        "styles",
        "image",
        "weight",
        "scale",
        "mask",
        "style_mask",
        "content_blend",
        "width",
        "height",
        "print",
        "bleed",
        "fit",
        "pad",
        "preprocessing",
        "step_size",
        "betas",
        "averaging",
        "animation",
        "seconds",
        "level",
        "when",
        "preset",
        "dither",
        "proof",
        "address",
        "intent",
        "compression",
        "tiled",
        "quality",
        "lossless",
    }
    assert keys_of_the_model() - written == absent  # what has no fixed default is only shown in a comment


def test_starter_paths_reach_other_folders(folder: Path) -> None:
    (folder / "jobs").mkdir()
    (folder / "link").symlink_to("jobs")
    for place in ("jobs", "link"):
        text = starter_job(folder / "a.jpg", folder / "on", folder / "c.tif", folder / place)
        assert "content: ../a.jpg\n" in text
        path = folder / place / "job.yaml"
        path.write_text(text, encoding="utf-8")
        assert load_job(path).content.samefile(folder / "a.jpg")


def test_starter_refuses_other_endings(folder: Path) -> None:
    with pytest.raises(JobError, match=r"must end in \.tif"):
        starter_job(folder / "a.jpg", folder / "on", folder / "c.gif", folder)
