"""YAML's traps: what is read, what is refused, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.errors import JobError
from tilefarm.spec.yaml_source import MOST_BYTES, parse, read_job_text
from tilefarm.spec.yaml_writer import write_yaml


def refusal(text: str) -> str:
    with pytest.raises(JobError) as caught:
        parse(text, "job.yaml")
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60:45", "60:45"),
        ("on", "on"),
        ("yes", "yes"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-12", -12),
        ("1.5", 1.5),
        ("1.5e+3", 1500.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("~", None),
        ("null", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
    ],
)
def test_values_stay_what_was_written(text: str, value: object) -> None:
    data = parse(f"a: {text}", "job.yaml").data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


def test_keys_are_texts() -> None:
    assert parse("on: 1\n1: 2\n~: 3\n", "job.yaml").data == {"on": 1, "1": 2, "~": 3}


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
structures = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), structures, max_size=5))
def test_reads_what_we_and_others_write(data: dict[str, object]) -> None:
    for text in (write_yaml(data), yaml.safe_dump(data)):
        document = parse(text, "job.yaml")
        assert document.data == data
        assert document.problems == []


def test_lines_of_keys_and_list_entries() -> None:
    text = "# first\na: 1\nb:\n  c:\n    - x\n    - d: 1\n      e: 2\n  f: {g: 1,\n    h: 2}\n"
    lines = parse(text, "job.yaml").lines
    assert lines[("a",)] == 2
    assert lines[("b",)] == 3
    assert lines[("b", "c", 0)] == 5
    assert lines[("b", "c", 1)] == lines[("b", "c", 1, "d")] == 6
    assert lines[("b", "c", 1, "e")] == 7
    assert lines[("b", "f", "g")] == 8
    assert lines[("b", "f", "h")] == 9


def test_duplicate_keys_name_both_lines_and_keep_the_first() -> None:
    document = parse("a: 1\nb: {c: 1,\n  c: 2}\na: 3\n", "job.yaml")
    assert document.data == {"a": 1, "b": {"c": 1}}
    assert document.problems == [
        (3, "'b.c' was already given in line 2; keep one of them"),
        (4, "'a' was already given in line 1; keep one of them"),
    ]


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("!!python/object/apply:os.system [ls]", "'!!python/object/apply:os.system'"),
        ("!!python/name:os.system", "'!!python/name:os.system'"),
        ("!own x", "'!own'"),
        ("!!binary aGk=", "'!!binary'"),
        ("!!set {x}", "'!!set'"),
        ("!!str [x]", "'!!str'"),
    ],
)
def test_tags_are_refused(value: str, tag: str) -> None:
    document = parse(f"b: 1\na: {value}\n", "job.yaml")
    assert document.data == {"a": None, "b": 1}
    assert document.unreadable == {("a",)}
    assert document.problems == [(2, f"the tag {tag} is not allowed in a job file; write a plain value")]


@pytest.mark.parametrize("value", ["!!int x", "!!bool yes", "!!float x", "9" * 5000])
def test_values_that_are_not_of_their_type(value: str) -> None:
    [(line, problem)] = parse(f"a: {value}", "job.yaml").problems
    assert line == 1
    assert "cannot be read as YAML's type" in problem


@pytest.mark.parametrize("text", ["[1]: 2", "{a: 1}: 2", "? {a: 1}\n: 2"])
def test_keys_that_are_no_words(text: str) -> None:
    assert parse(text, "job.yaml").problems == [(1, "a key must be a word, got a list or a mapping")]


def test_lone_surrogates_are_refused() -> None:
    [(line, problem)] = parse('a: 1\nb: "\\uD800"', "job.yaml").problems
    assert line == 2
    assert "surrogate" in problem


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", "job.yaml, line 3, column 2: "),
        ("a: b: c", "job.yaml, line 1, column 5: "),
        ("a:\n\t- b", "job.yaml, line 2, column 1: "),
        ("a: *b", "job.yaml, line 1, column 4: "),
        ("a: 1\n---\nb: 2", "job.yaml, line 2, column 1: "),
        ("a: 1\nb: \x07", "job.yaml, line 2: "),
        ('a: "\\UFFFFFFFF"', "job.yaml: "),
        ("%YAML 9.9\n---\na: 1", "job.yaml, line 1, column 1: "),
    ],
)
def test_syntax_errors_are_one_sentence_with_the_place(text: str, start: str) -> None:
    problem = refusal(text)
    assert problem.startswith(start)
    assert "\n" not in problem


def test_depth_is_capped() -> None:
    parse("a: " + "[" * 48 + "]" * 48, "job.yaml")
    assert "deeper than 50 levels" in refusal("a: " + "[" * 50 + "]" * 50)
    assert "deeper than 50 levels" in refusal("[" * 100_000)
    assert "deeper than 50 levels" in refusal("\n".join("  " * i + "a:" for i in range(3000)))


def test_entries_are_capped() -> None:
    assert len(parse("[" + "1," * 9_000 + "]", "job.yaml").data) == 9_000
    assert "more than 10000 entries" in refusal("[" + "1," * 10_001 + "]")


def test_aliases_are_followed_but_capped() -> None:
    assert parse("a: &x {b: 1}\nc: *x", "job.yaml").data == {"a": {"b": 1}, "c": {"b": 1}}
    laughs = "a0: &a0 [x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    assert "aliases expand" in refusal(laughs)
    assert "aliases expand" in refusal("a: &a [*a]")
    assert "aliases expand" in refusal("a: &a {b: *a}")


def test_copies_of_an_alias_are_independent() -> None:
    data = parse("a: &x {b: 1}\nc: *x", "job.yaml").data
    assert data["a"] is not data["c"]


def test_files_that_cannot_be_job_files(tmp_path: Path) -> None:
    def fails(path: Path) -> str:
        with pytest.raises(JobError) as caught:
            read_job_text(path)
        return str(caught.value)

    job = tmp_path / "job.yaml"
    assert "does not exist" in fails(job)
    assert "is a folder" in fails(tmp_path)
    assert "cannot be read: Not a directory" in fails(Path(__file__) / "job.yaml")
    job.write_bytes(b"a: 1\nb: \xff\n")
    assert fails(job).startswith(f"{job}, line 2: the file is not UTF-8")
    job.write_bytes(b"#" * (MOST_BYTES + 1))
    assert "larger than 1 MiB" in fails(job)
    job.write_bytes(b"#" * MOST_BYTES)
    assert len(read_job_text(job)) == MOST_BYTES


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert parse(read_job_text(tmp_path / "job.yaml"), "job.yaml").data == {"a": 1}


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="ab: -[]{},&*!?|>'\"%@`#\n\t\\0159.~=<xuU\x85\ufeff", max_size=60))
def test_any_text_is_data_or_a_job_error(text: str) -> None:
    try:
        parse(text, "job.yaml")
    except JobError as error:
        [problem] = error.problems
        assert problem.startswith("job.yaml")
        assert "\n" not in problem
