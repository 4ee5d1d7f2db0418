"""The checker finds each violation when it is planted by hand, and nothing in what a correct model lets clients see."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.checker import check, explain, main
from tests.faults.findings import Kind, histories_of
from tests.faults.history import (
    Acked,
    Fail,
    Final,
    Invoke,
    Observed,
    Ok,
    Page,
    Pushed,
    Synced,
    Unknown,
    dump,
    load,
    restore,
    save,
)
from tests.faults.model import OPERATIONS, Model
from tests.faults.planted_histories import LOG, PLANTED, C, add, both, change, drop, event, story

if TYPE_CHECKING:
    from pathlib import Path


def test_the_story_itself_is_fine() -> None:
    assert check(list(story().values())) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_found_and_its_shortest_history_shows_it(name: str) -> None:
    kind, plant = PLANTED[name]
    told = story()
    plant(told)
    found = [each for each in explain(list(told.values())) if each.kind is kind]
    assert found, name
    for each in found:
        alone = check(histories_of(each.lines))
        assert any(again.kind is kind and again.about == each.about for again in alone), str(each)
        for line in each.lines:
            fewer = check(histories_of([other for other in each.lines if other is not line]))
            assert not any(again.kind is kind and again.about == each.about for again in fewer), (str(each), line)
        assert each.clients
        assert str(each).startswith(kind.value)


def test_every_kind_of_finding_is_planted() -> None:
    assert {kind for kind, _ in PLANTED.values()} == set(Kind)


def test_a_finding_names_clients_ids_and_lines() -> None:
    told = story()
    change("first", Page, {}, events=[LOG[0], *LOG[2:]])(told)
    (lost,) = [each for each in explain(list(told.values())) if each.kind is Kind.LOST]
    assert lost.about == (C, "m1")
    assert [(line.client.name, line.number) for line in lost.lines] == [("ada/1", 6), ("ada/1", 15)]
    assert lost.as_json()["clients"] == ["ada/1"]


def test_an_unknown_outcome_may_be_there_or_not() -> None:
    told = story()
    both(
        drop("first", kind=Ok, id="m1"),
        add("first", Unknown(at=5, conversation=C, id="m1"), Fail(at=6, conversation=C, id="m1", code="conflict")),
        add("first", Invoke(at=7, op="send", conversation=C, id="gone", text="?", ordered=True)),
        add("first", Unknown(at=8, conversation=C, id="gone")),
    )(told)
    assert check(list(told.values())) == []


def test_what_was_read_elsewhere_or_stored_on_the_phone_needs_no_push() -> None:
    told = story()
    drop("provider", kind=Pushed)(told)
    add("first", event(6, at=42, kind="receipt", text="user:5"))(told)
    assert not [each for each in check(list(told.values())) if each.kind is Kind.PUSH]
    told = story()
    drop("provider", kind=Pushed)(told)
    change("second", Acked, {}, usn=5)(told)
    assert not [each for each in check(list(told.values())) if each.kind is Kind.PUSH]


operations = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 10**6)), max_size=60)


@settings(deadline=None, max_examples=150)
@given(operations)
def test_a_correct_model_never_yields_a_finding(played: list[tuple[str, int]]) -> None:
    assert check(Model().play(played)) == []


@settings(deadline=None, max_examples=60)
@given(operations, st.integers(0, 10**6))
def test_an_event_that_a_correct_model_did_not_leave_out_is_missed(played: list[tuple[str, int]], which: int) -> None:
    histories = Model().play([("connect", 0), ("say", 0), ("say", 0), *played])
    inner = [
        (history, position)
        for history in histories
        for position, (one, two) in enumerate(itertools.pairwise(history.records))
        if history.client.role == "device" and isinstance(one, Observed) and isinstance(two, Observed | Synced)
    ]
    history, position = inner[which % len(inner)]
    del history.records[position]
    assert check(histories)


@settings(deadline=None, max_examples=30)
@given(operations)
def test_a_history_survives_its_file(played: list[tuple[str, int]]) -> None:
    for history in Model().play(played):
        assert load(dump(history)) == history


def test_histories_on_disk_are_judged_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = story()
    save(list(told.values()), tmp_path / "fine")
    assert main([str(tmp_path / "fine")]) == 0
    change("second", Final, {}, usn=4)(told)
    save(list(told.values()), tmp_path / "bad")
    assert main([str(tmp_path / "bad")]) == 1
    assert "not delivered" in capsys.readouterr().out
    assert {history.client.name for history in restore(tmp_path / "bad")} == {"ada/1", "ada/2", "desk", "fcm"}
    assert main([]) == 2
