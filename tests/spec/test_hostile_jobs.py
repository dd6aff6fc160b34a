"""Job files from strangers: every absurd value in every key is a job or a sentence, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilefarm.batch import Refusal, load_group
from tilefarm.errors import JobError
from tilefarm.spec.model import Job
from tilefarm.spec.section import Section
from tilefarm.spec.sweep import load_jobs

SECONDS = 3.0
"""Of processor time, for one file."""
ABSURD: dict[str, Any] = {
    "huge": 10**9,
    "enormous": 10**400,
    "negative": -(10**9),
    "nan": float("nan"),
    "infinite": float("inf"),
    "minus infinite": float("-inf"),
    "minus zero": -0.0,
    "largest": 1e308,
    "tiny": 5e-324,
    "empty": "",
    "spaces": "   ",
    "newline": "a\nb.png",
    "null": "a\0b.png",
    "4 KiB": "x" * 4096,
    "4 KiB path": "x/" * 2048 + "a.png",
    "climbing": "../" * 100 + "etc/passwd",
    "escape": "\x1b[31mred.png",
    "right to left": "\u202egnp.exe.png",
    "many": list(range(5_000)),
    "many texts": ["a.jpg"] * 3_000,
    "mapping": {"a": {"b": {"c": 1}}},
    "nested": [[[[[[1]]]]]],
    "no": None,
    "yes": True,
    "pattern": "**/*",
    "bad pattern": "[" * 200 + "*",
    "stars": "*" * 60 + "x.png",
}
NEVER = ("enormous", "nan", "infinite", "minus infinite", "mapping", "nested")
"""What no key takes."""


def keys(section: type[Section] = Job, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a job, as the path to it."""
    for name, field in section.model_fields.items():
        here = (*above, name)
        yield here
        for inner in _sections(field.annotation):
            yield from keys(inner, (*here, "0") if name == "styles" else here)


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)


KEYS = [
    *sorted({(*key,) for key in keys()}),
    ("style",),
    ("matrix",),
    ("matrix", "seed"),
    ("matrix", "style"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("jobs")
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"x")
    return folder


def whole(key: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A good job in which one key has this value."""
    data: dict[str, Any] = {"content": "a.jpg", "output": {"path": "c.png"}}
    data |= {} if key[0] in ("style", "styles") else {"style": "b.jpg"}
    place: Any = data
    for part, following in zip(key, (*key[1:], None), strict=True):
        if following is None:
            place[int(part) if part == "0" else part] = value
        elif part == "0":
            place = place[0]
        else:
            place = place.setdefault(part, [{"image": "b.jpg"}] if following == "0" else {})
    return data


def check(folder: Path, text: str, overrides: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A job, or the sentences, of bounded length, that each name the file or the override."""
    path = folder / "job.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    begin = time.process_time()
    try:
        assert load_jobs(path, overrides).jobs
        problems: tuple[str, ...] = ()
    except JobError as error:
        problems = error.problems
        assert problems  # either end is a good one
    assert time.process_time() - begin < SECONDS
    for problem in problems:
        assert problem.startswith((str(path), "--set ")), problem
        assert len(problem) < 12_000
        assert problem.isprintable(), problem
        assert "Input should" not in problem
    return problems


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_value_in_every_key(folder: Path, name: str) -> None:
    for key in KEYS[:: 12 if name.startswith("many") else 1]:
        problems = check(folder, yaml.safe_dump(whole(key, ABSURD[name]), allow_unicode=True, width=10**6))
        assert problems or name not in NEVER, key


@pytest.mark.parametrize("name", ["huge", "nan", "infinite", "largest", "empty", "climbing", "mapping", "no"])
def test_an_absurd_override_of_every_key(folder: Path, name: str) -> None:
    text = yaml.safe_dump(whole(("seed",), 1))
    value = yaml.safe_dump(ABSURD[name], default_flow_style=True, width=10**6).removesuffix("...\n").strip()
    for key in KEYS:
        problems = check(folder, text, (f"{'.'.join(key)}={value}",))
        assert problems or name not in NEVER, key


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["*.jpg", "a.jpg"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
named = st.sampled_from([".".join(key) for key in KEYS])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(matrix=st.dictionaries(named, values, max_size=3), preset=st.none() | st.text(max_size=5) | values)
def test_any_matrix_and_preset(folder: Path, matrix: dict[str, Any], preset: Any) -> None:
    data = whole(("matrix",), matrix) | ({} if preset is None else {"preset": preset})
    check(folder, yaml.safe_dump(data, allow_unicode=True))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(overrides=st.lists(st.tuples(named, values), max_size=3))
def test_any_overrides(folder: Path, overrides: list[tuple[str, Any]]) -> None:
    texts = tuple(f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in overrides)
    check(folder, yaml.safe_dump(whole(("seed",), 1)), texts)


@pytest.mark.parametrize("name", ["\x1f", "a\x85b", "\u2028b", "a\u00a0b", "\x1b[31m", "\u202eb"])
def test_names_that_steer_a_terminal_are_told_as_escapes(folder: Path, name: str) -> None:
    good = yaml.safe_dump(whole(("seed",), 1))
    mapping = yaml.safe_dump({name: 1}, default_flow_style=True, allow_unicode=True).strip()
    for key in (
        "objective.style_layers",
        "objective.style_statistics",
        "matrix",
        "styles.0",
        "output",
        "init",
    ):
        path = tuple(key.split("."))
        assert check(folder, yaml.safe_dump(whole(path, {name: 1}), allow_unicode=True)), key
        assert check(folder, good, (f"{key}={mapping}",)), key
        assert check(folder, good, (f"{key}.{name}=1",)), key


def test_a_folder_of_hostile_jobs_refuses_each(tmp_path: Path) -> None:
    bombs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    texts = {
        "bomb": bombs,
        "deep": "[" * 5000,
        "tag": "content: !!python/object/apply:os.system [id]\n",
        "twice": "seed: 1\nseed: 2\n",
        "binary": "\x01\x02",
        "empty": "",
        "list": "- 1\n",
        "merge": "base: &b {seed: 1}\n<<: *b\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    group = load_group(tmp_path)
    assert len(group.entries) == len(texts)
    for entry in group.entries:
        assert isinstance(entry, Refusal)
        assert entry.source.name in str(entry.error)
