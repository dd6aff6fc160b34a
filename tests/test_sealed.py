"""A bit that has flipped in a long sealed record is turned back."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tilefarm.sealed import opened_json, sealed_json, with_its_bit_back

texts = st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=20), min_size=1, max_size=20)


@settings(deadline=None)
@given(texts, st.data())
def test_every_single_bit_is_turned_back(record: dict[str, object], data: st.DataObject) -> None:
    whole = sealed_json(json.dumps(record)).encode()
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    damaged = bytearray(whole)
    damaged[place // 8] ^= 1 << place % 8
    assert with_its_bit_back(bytes(damaged)) == whole


@settings(deadline=None)
@given(texts, st.data())
def test_of_two_bits_none_is_made_up(record: dict[str, object], data: st.DataObject) -> None:
    whole = sealed_json(json.dumps(record)).encode()
    body = len(whole) - len(b',"sum":"01234567"}')
    first, second = data.draw(st.lists(st.integers(0, 8 * body - 1), min_size=2, max_size=2, unique=True))
    damaged = bytearray(whole)
    for place in (first, second):
        damaged[place // 8] ^= 1 << place % 8
    assert with_its_bit_back(bytes(damaged)) is None


def test_the_first_byte_of_a_long_record() -> None:
    whole = sealed_json(json.dumps({"losses": [1 / (n + 1) for n in range(20_000)]})).encode()
    assert len(whole) > 300_000
    damaged = bytearray(whole)
    damaged[1] ^= 4
    mended = with_its_bit_back(bytes(damaged))
    assert mended == whole
    assert opened_json(mended)[1]


def test_what_has_no_sum_is_left_alone() -> None:
    assert with_its_bit_back(b'{"iteration": 3}') is None
    assert with_its_bit_back(b"") is None
