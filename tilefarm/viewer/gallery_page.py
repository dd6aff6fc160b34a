"""The page of a gallery: a card for each run, and the data that its filters and viewers need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from tilefarm.geometry import Size
from tilefarm.report.console import counted, duration
from tilefarm.viewer.markup import embedded, page, terms, text

_WEIGHTS = ("weight", "layer", "statistics", "units", "exponent", "shift", "network", "preset")
"""Words in keys that change what the loss measures."""


@dataclass(frozen=True)
class Card:
    """One run."""

    name: str
    status: str
    thumbnail: str | None
    """Of the small picture, relative to the page; None where there is none."""
    size: Size | None
    """Of the small picture."""
    zoom: dict[str, Any] | None
    """What a viewer needs of the picture in deep zoom."""
    report: str | None
    """Of the run's own page."""
    loss: float | None
    """At the end of the finest level; None for a run that is not done."""
    seconds: float | None
    note: str = ""
    """Why something is missing."""


def gallery_page(
    title: str,
    cards: Sequence[Card],
    labels: Sequence[str],
    values: Sequence[Sequence[str]],
    assets: str,
) -> bytes:
    """The page, UTF-8. `values` are per card those of the keys `labels`."""
    done = sum(card.status == "done" for card in cards)
    lead = f"{counted(len(cards), 'run')}, {done} done"
    if labels:
        lead += ", which differ in " + ", ".join(labels)
    other = any(word in label for label in labels for word in _WEIGHTS)
    return page(
        "report_gallery.html",
        assets=assets,
        title=escape(title),
        name=text(title),
        lead=text(lead),
        comparable=" hidden" if not other else "",
        cards="".join(
            _card(number, card, list(zip(labels, of_card, strict=True)))
            for number, (card, of_card) in enumerate(zip(cards, values, strict=True))
        ),
        data=embedded(
            {
                "labels": list(labels),
                "runs": [
                    {
                        "name": card.name,
                        "status": card.status,
                        "values": list(of_card),
                        "loss": card.loss,
                        "seconds": card.seconds,
                        "zoom": card.zoom,
                    }
                    for card, of_card in zip(cards, values, strict=True)
                ],
            }
        ),
    )


def _card(number: int, card: Card, values: list[tuple[str, str]]) -> str:
    facts = [*values, *_outcome(card)]
    note = f'<p class="hint">{text(card.note)}</p>' if card.note else ""
    compare = (
        f'<button type="button" data-compare="{number}" aria-pressed="false" '
        f'aria-label="Compare {escape(card.name)}">Compare</button>'
        if card.zoom is not None
        else ""
    )
    name = text(card.name)
    if card.report is not None:
        name = f'<a href="{escape(card.report)}">{name}</a>'
    inner = f"{_picture(card)}<h3>{name}</h3>{terms(facts)}{note}{compare}"
    return f'<li class="run card" id="run-{number}">{inner}</li>'


def _picture(card: Card) -> str:
    """The small picture; a link that repeats the heading's is kept from those who hear the page."""
    if card.thumbnail is None or card.size is None:
        return f'<p class="missing">{text(card.status)}: no picture</p>'
    image = (
        f'<img src="{escape(card.thumbnail)}" width="{card.size.width}" height="{card.size.height}" '
        'alt="" loading="lazy" decoding="async">'
    )
    if card.report is None:
        return f'<div class="thumbnail">{image}</div>'
    return f'<a class="thumbnail" href="{escape(card.report)}" tabindex="-1" aria-hidden="true">{image}</a>'


def _outcome(card: Card) -> list[tuple[str, str]]:
    rows = []
    if card.loss is not None:
        rows.append(("Loss", f"{card.loss:.4g}"))
    if card.seconds is not None:
        rows.append(("Time", duration(card.seconds)))
    if card.status != "done":
        rows.append(("Status", card.status))
    return rows
