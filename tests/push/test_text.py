from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.text import ELLIPSIS, MIN_BUDGET, clean, clusters, json_bytes, shorten

FAMILY = "👨‍👩‍👧‍👦"
WHOLE = [
    FAMILY,
    "🏳️‍🌈",
    "🇩🇪",
    "👍🏽",
    "e\u0301",
    "각",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "\r\n",
]


@pytest.mark.parametrize("character", WHOLE)
def test_what_a_reader_sees_as_one_character_is_one_cluster(character: str) -> None:
    assert list(clusters(f"a{character}{character}b")) == ["a", character, character, "b"]


def test_flags_pair_up_from_the_left() -> None:
    assert list(clusters("🇩🇪🇫🇷🇮")) == ["🇩🇪", "🇫🇷", "🇮"]


@given(st.text())
def test_clusters_joined_are_the_text(text: str) -> None:
    assert "".join(clusters(text)) == text


@given(
    st.text(
        alphabet=st.one_of(st.characters(), st.sampled_from("".join(WHOLE) + "\u202e\u2067\u2069\u202c")), max_size=600
    )
)
def test_shortened_text_fits_and_is_a_beginning(text: str) -> None:
    text = clean(text)
    short = shorten(text, MIN_BUDGET)
    assert json_bytes(short) <= MIN_BUDGET
    if short != text:
        kept = short[: short.rindex(ELLIPSIS)]
        assert text.startswith(kept)
        assert json_bytes(text) > MIN_BUDGET


@pytest.mark.parametrize("character", [*WHOLE[:-1], "ש", "م", '"', "\\"])
def test_a_cut_never_splits_a_character(character: str) -> None:
    short = shorten(character * 500, 300)
    kept = short.removesuffix(ELLIPSIS)
    assert kept != short
    assert kept.replace(character, "") == ""
    # And nothing is given away: one more would not have fitted.
    assert json_bytes(kept + character + ELLIPSIS) > 300


def test_a_stack_of_accents_is_cut_rather_than_sent_whole() -> None:
    assert 0 < json_bytes(shorten("a" + "\u0301" * 5000, MIN_BUDGET)) <= MIN_BUDGET


def test_right_to_left_controls_opened_before_the_cut_are_closed() -> None:
    short = shorten("\u2067\u202e" + "x" * 1000, MIN_BUDGET)
    assert short.endswith(ELLIPSIS + "\u202c\u2069")


def test_controls_already_closed_are_not_closed_again() -> None:
    short = shorten("\u2067\u202eab\u2069\u202c" + "x" * 1000, MIN_BUDGET)
    assert short.endswith("x" + ELLIPSIS)


def test_a_closer_of_an_embedding_does_not_reach_out_of_an_isolate() -> None:
    short = shorten("\u202b\u2067ab\u202c" + "x" * 1000, MIN_BUDGET)
    assert short.endswith(ELLIPSIS + "\u2069\u202c")


def test_text_that_fits_is_untouched() -> None:
    assert shorten(FAMILY, MIN_BUDGET) == FAMILY


def test_a_budget_too_small_for_one_character_is_refused() -> None:
    with pytest.raises(ValueError, match="budget"):
        shorten("x", MIN_BUDGET - 1)


@given(st.text(alphabet=st.characters(codec=None)))
def test_clean_text_can_be_encoded_and_holds_no_control_but_line_breaks(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert all(c == "\n" or c.isprintable() or ord(c) >= 0xA0 for c in cleaned)


def test_clean_keeps_lines_and_replaces_half_a_character() -> None:
    assert clean(" one\r\ntwo\tthree\x00\x1b \ud83d ") == "one\ntwo three \ufffd"


def test_clean_joins_a_surrogate_pair() -> None:
    assert clean("\ud83d\ude00") == "😀"
