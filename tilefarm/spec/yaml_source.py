"""YAML text into plain data, with the line of every key and without YAML's traps.

What YAML 1.1 would turn into something else stays the text that was written: `on`, `yes`, `60:45`,
`010`, `2024-01-01`. Duplicate keys and tags are mistakes. Size, depth and the number of entries are
capped before anything is built, because a few lines of aliases can stand for billions of entries.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tilefarm.errors import JobError

MOST_BYTES = 1024 * 1024
MOST_LEVELS = 50
MOST_ENTRIES = 10_000

Location = tuple[str | int, ...]
"""Keys and list positions from the top of the document."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with fewer implicit types, and with caps while it reads."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # the name and the type are PyYAML's

    depth = 0
    entries = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """PyYAML's, one level deeper; raises MarkedYAMLError above the caps."""
        self.depth += 1
        self.entries += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.depth > MOST_LEVELS:
            raise yaml.MarkedYAMLError(
                problem=f"it is nested deeper than {MOST_LEVELS} levels", problem_mark=mark
            )
        if self.entries > MOST_ENTRIES:
            raise yaml.MarkedYAMLError(problem=f"it has more than {MOST_ENTRIES} entries", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_PREFIX = "tag:yaml.org,2002:"
# Every pattern accepts a part of what YAML 1.1 accepts for the type, so that a text that yaml.safe_dump
# writes without quotes is read back as a text.
for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.[0-9]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(_PREFIX + _kind, re.compile(f"(?:{_pattern})\\Z"), _first)


@dataclass
class Document:
    """What a YAML text holds, and where."""

    data: Any
    lines: dict[Location, int] = field(default_factory=dict)
    """Counted from 1; keys have the line of the key, list entries that of the entry."""
    problems: list[tuple[int, str]] = field(default_factory=list)
    """Mistakes of the text itself, each with its line."""
    unreadable: set[Location] = field(default_factory=set)
    """Where the data holds None because the value could not be read; `problems` says why."""


def read_job_text(path: Path, kind: str = "job file") -> str:
    """The text of a job file. Raises JobError if it is missing, no file, too large or not UTF-8.

    `kind` is what the file is called.
    """
    if path.is_dir():
        raise JobError(f"{path} is a folder; give the path of a {kind}")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        way = "'tilefarm init' writes a starter job file"
        way = way if kind == "job file" else "'tilefarm simulate --calibrate FILE' writes one of this machine"
        raise JobError(f"{path} does not exist; {way}") from None
    except OSError as error:
        raise JobError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise JobError(f"{path} is larger than 1 MiB, the most that a {kind} may have; is it a {kind}?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise JobError(f"{path}, line {line}: the file is not UTF-8 text; save it as UTF-8") from None


def check_name(path: Path) -> None:
    """Raises JobError where a job file's path is not UTF-8: the job's relative paths would not be either."""
    name = str(path.absolute())
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        way = "rename it" if encoding == "utf-8" else f"names are read as {encoding} here: set PYTHONUTF8=1"
        raise JobError(
            f"{path}: the names of a job file and its folders must be UTF-8, got {name!r}; {way}"
        ) from None


def parse(text: str, source: str) -> Document:
    """The plain data of one YAML document; None for an empty one.

    Raises JobError, one sentence that begins with `source`, where the text is not YAML or is too deep
    or too large. Lesser mistakes are in the document's `problems`.
    """
    root = _compose(text, source)
    if root is None:
        return Document(None)
    builder = _Builder(source)
    return builder.document(root)


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise JobError(
            f"{source}, line {line}: the character {_code(error.character)} is not allowed; remove it"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        what = error.problem or error.context or "the text breaks off"
        raise JobError(f"{place}: this is not a valid job file: {what}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # such as the escape "\UFFFFFFFF"
        raise JobError(f"{source}: this is not valid YAML: {error}") from None


def _code(character: str | bytes | int) -> str:
    return f"{character if isinstance(character, int) else ord(character):#x}"


class _Builder:
    """Turns nodes into data. Aliases are followed, so that entries are counted again here."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._entries = 0
        self._result = Document(None)

    def document(self, root: yaml.Node) -> Document:
        self._result.data = self._build(root, ())
        return self._result

    def _build(self, node: yaml.Node, at: Location) -> Any:
        self._entries += 1
        line = node.start_mark.line + 1
        if self._entries > MOST_ENTRIES or len(at) >= MOST_LEVELS:
            raise JobError(
                f"{self._source}, line {line}: aliases expand the file beyond {MOST_ENTRIES} entries "
                f"or {MOST_LEVELS} levels; write the values out"
            )
        self._result.lines.setdefault(at, line)
        if isinstance(node, yaml.MappingNode) and node.tag == _PREFIX + "map":
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode) and node.tag == _PREFIX + "seq":
            return [self._build(item, (*at, index)) for index, item in enumerate(node.value)]
        try:
            return _scalar(node)
        except ValueError as error:
            self._result.problems.append((line, str(error)))
            self._result.unreadable.add(at)
            return None

    def _mapping(self, node: yaml.MappingNode, at: Location) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            try:
                _scalar(key_node)
            except ValueError as error:
                self._result.problems.append((line, str(error)))
                continue
            # The text: `on` and `1` are keys that nobody asked for, not a bool and an int.
            key = key_node.value
            here = (*at, key)
            if key in data:
                first, name = self._result.lines[here], ".".join(map(str, here))
                problem = f"{name!r} was already given in line {first}; keep one of them"
                self._result.problems.append((line, problem))
                continue
            self._result.lines[here] = line
            data[key] = self._build(value_node, here)
        return data


def _scalar(node: yaml.Node) -> Any:
    """The value of a single value. Raises ValueError, a whole sentence, for anything else."""
    if not isinstance(node, yaml.ScalarNode) or node.tag not in _KINDS:
        if node.tag in (_PREFIX + "map", _PREFIX + "seq"):
            raise ValueError("a key must be a word, got a list or a mapping")
        tag = node.tag.replace(_PREFIX, "!!")
        raise ValueError(f"the tag {tag!r} is not allowed in a job file; write a plain value")
    text = node.value
    try:
        text.encode("utf-8")
        return _KINDS[node.tag](text)
    except UnicodeEncodeError:
        raise ValueError(
            f"{text!r} holds half a character (a lone surrogate); write the character itself"
        ) from None
    except (ValueError, KeyError):
        kind = node.tag.removeprefix(_PREFIX)
        raise ValueError(f"{text[:60]!r} cannot be read as YAML's type {kind}; write a plain value") from None


def _float(text: str) -> float:
    return float(re.sub(r"\.(inf|nan)\Z", r"\1", text.lower()))


_KINDS: dict[str, Any] = {
    _PREFIX + "str": str,
    _PREFIX + "null": lambda _: None,
    _PREFIX + "bool": lambda text: {"true": True, "false": False}[text.lower()],
    _PREFIX + "int": int,
    _PREFIX + "float": _float,
}
