"""Small pieces of HTML; every text that comes from outside is escaped here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; img-src 'self' file: data: blob:; script-src 'self' file:; "
    "style-src 'self' file: 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
    "base-uri 'none'; form-action 'none'"
)
"""Nothing but the page's own files; `file:`, since 'self' is no origin for pages that are opened from disk.
The hash is that of an empty text: the pages' empty style element keeps OpenSeadragon from writing one."""


def text(value: object) -> str:
    """Any text as HTML, isolated from its surroundings where it is written from right to left."""
    return f"<bdi>{escape(str(value))}</bdi>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, numbers: int = 0) -> str:
    """A table with a heading for each column and row; cells are texts, the last `numbers` columns figures."""
    first = len(head) - numbers
    cells = "".join(
        f'<th scope="col"{_figure(column >= first)}>{text(name)}</th>' for column, name in enumerate(head)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{_breakable(cell)}</th>'
            if column == 0
            else f"<td{_figure(column >= first)}>{text(cell)}</td>"
            for column, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="table" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _breakable(name: str) -> str:
    """A name as HTML that a narrow column breaks between its parts, `output.` and `path`, and not within."""
    return text(name).replace(".", ".<wbr>").replace("_", "_<wbr>")


def terms(rows: Iterable[tuple[str, str]]) -> str:
    """Names with their values, as a description list."""
    inner = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in rows)
    return f'<dl class="terms">{inner}</dl>'


def notices(sentences: Iterable[str]) -> str:
    """Sentences that must not be overlooked; nothing where there are none."""
    inner = "".join(f"<li>{text(sentence)}</li>" for sentence in sentences)
    return f'<ul class="notices">{inner}</ul>' if inner else ""


def embedded(record: Any) -> str:
    """Data as JSON that is safe inside a script element, whatever its texts hold."""
    plain = json.dumps(record, ensure_ascii=True, separators=(",", ":"))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def page(file: str, **parts: str) -> bytes:
    """A page of the viewer's own with its places filled, which must be HTML; UTF-8.

    Halves of characters, which names of files may hold, become question marks.
    """
    template = Template((STATIC / file).read_text(encoding="utf-8"))
    return template.substitute(policy=POLICY, **parts).encode("utf-8", "replace")


def _figure(is_number: bool) -> str:
    return ' class="figure"' if is_number else ""
