"""Turns: one at a time, first come, first served, and everybody is told the place."""

from __future__ import annotations

from DABSegExtension.browser.turns import Turns


def test_who_comes_first_has_the_turn_at_once():
    told = []
    turns = Turns(lambda who, ahead: told.append((who, ahead)))
    turns.want("a")
    assert told == [("a", 0)]
    assert turns.whose() == "a"


def test_the_others_are_told_how_many_stand_before_them():
    told = []
    turns = Turns(lambda who, ahead: told.append((who, ahead)))
    for who in "abc":
        turns.want(who)
    assert told == [("a", 0), ("b", 1), ("c", 2)]
    told.clear()
    turns.end("a")
    assert told == [("b", 0), ("c", 1)]


def test_who_leaves_the_middle_moves_only_those_behind():
    told = []
    turns = Turns(lambda who, ahead: told.append((who, ahead)))
    for who in "abc":
        turns.want(who)
    told.clear()
    turns.end("b")
    assert told == [("c", 1)]
    assert turns.whose() == "a"


def test_asking_twice_keeps_the_place():
    told = []
    turns = Turns(lambda who, ahead: told.append((who, ahead)))
    for who in "aba":
        turns.want(who)
    assert told == [("a", 0), ("b", 1), ("a", 0)]
    turns.end("a")
    assert turns.whose() == "b"
    assert len(turns) == 1


def test_leaving_where_one_does_not_stand_is_nothing():
    told = []
    turns = Turns(lambda who, ahead: told.append((who, ahead)))
    turns.end("a")
    turns.want("b")
    turns.end("a")
    assert told == [("b", 0)]


def test_who_leaves_and_comes_back_stands_at_the_end():
    turns = Turns(lambda who, ahead: None)
    for who in "ab":
        turns.want(who)
    turns.end("a")
    turns.want("a")
    assert turns.whose() == "b"


def test_who_ends_the_turn_while_being_told_of_it_passes_it_on():
    told = []

    def tell(who: str, ahead: int) -> None:
        told.append((who, ahead))
        if who == "b" and ahead == 0:
            turns.end("b")

    turns = Turns(tell)
    for who in "abc":
        turns.want(who)
    turns.end("a")
    assert turns.whose() == "c"
    assert told[-1] == ("c", 0)
