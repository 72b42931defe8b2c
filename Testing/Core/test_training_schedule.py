"""How far a run is and what goes with it: warm-up, cosine and its second start by hand, and a clock over sittings."""

from __future__ import annotations

import math

import pytest

from DABSegCore.training.config import TrainConfig, resolve
from DABSegCore.training.schedule import Clock, Schedule


class Watch:
    """A source of seconds that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def schedule(**settings: object) -> Schedule:
    given = {"steps": 100, "learning_rate": 0.8, "last_learning_rate": 0.2, "warm_up_steps": 0, **settings}
    return Schedule.of(TrainConfig(**given), cases=10)


@pytest.mark.parametrize(("share", "rate"), [(0.0, 0.8), (0.25, 0.5 + 0.3 * math.sqrt(0.5)), (0.5, 0.5), (1.0, 0.2)])
def test_the_cosine_falls_from_the_highest_rate_to_the_last(share, rate):
    assert schedule().learning_rate(50, share) == pytest.approx(rate, abs=1e-12)


def test_the_warm_up_is_linear_and_multiplies_the_cosine():
    plan = schedule(warm_up_steps=4)
    rates = [plan.learning_rate(step, 0.0) for step in range(6)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    assert plan.learning_rate(1, 0.5) == pytest.approx(0.25)


def test_the_cosine_starts_again_where_it_is_late():
    """The first ends at 3/4, the second has the last quarter: at 3/8 and 7/8 each is at its middle."""
    plan = schedule(late_from=0.75)
    shares = (0.0, 0.375, 0.75 - 1e-9, 0.75, 0.875, 1.0 - 1e-9, 1.0)
    rates = [plan.learning_rate(50, share) for share in shares]
    assert rates == pytest.approx([0.8, 0.5, 0.2, 0.8, 0.5, 0.2, 0.2], abs=1e-6)
    assert [plan.is_late(share) for share in shares] == [False, False, False, True, True, True, False]


def test_late_from_the_start_or_never_there_is_one_cosine():
    for late_from in (0.0, 1.0):
        plan = schedule(late_from=late_from)
        assert [plan.learning_rate(9, share) for share in (0.0, 0.5, 1.0)] == pytest.approx([0.8, 0.5, 0.2])
    assert schedule(late_from=0.0).is_late(0.0)
    assert not any(schedule(late_from=1.0).is_late(share) for share in (0.0, 0.5, 1.0))


def test_the_paper_starts_again_after_250_of_300_epochs():
    config = resolve({"recipe": "paper"}, on_gpu=False)
    plan = Schedule.of(config, cases=295)
    assert plan.steps == 300 * 295
    turn = 250 * 295
    rates = [plan.learning_rate(step, plan.share(step, 0.0)) for step in (0, turn // 2, turn - 1, turn, plan.steps)]
    assert rates == pytest.approx([1e-4, 5.5e-5, 1e-5, 1e-4, 1e-5], rel=1e-4)
    assert [plan.is_late(plan.share(step, 0.0)) for step in (turn - 1, turn)] == [False, True]


def test_epochs_become_steps():
    """10 cases, 4 a step: 3 epochs are 7.5 steps, which is 8; there is always one."""
    assert schedule(steps=None, epochs=3.0, batch=4).steps == 8
    assert schedule(steps=None, epochs=0.001, batch=4).steps == 1
    assert schedule(steps=70, batch=4).steps == 70
    assert schedule(steps=None, total_minutes=5.0).steps is None


def test_share_of_a_schedule_in_steps_ignores_the_clock():
    plan = schedule()
    assert [plan.share(step, 1e9) for step in (0, 25, 100, 101)] == [0.0, 0.25, 1.0, 1.0]


def test_share_of_a_schedule_in_minutes_ignores_the_steps():
    plan = schedule(steps=None, total_minutes=10.0)
    assert [plan.share(10**9, seconds) for seconds in (0.0, 150.0, 600.0, 700.0)] == [0.0, 0.25, 1.0, 1.0]
    assert [plan.left_s(seconds) for seconds in (0.0, 150.0, 700.0)] == [600.0, 450.0, 0.0]


def test_the_clock_counts_this_sitting_and_those_before():
    watch = Watch()
    clock = Clock(now=watch)
    assert clock.elapsed_s == clock.sitting_s == 0
    watch.time += 90
    assert clock.elapsed_s == clock.sitting_s == 90
    later = Clock(clock.elapsed_s, now=watch)
    watch.time += 5
    assert (later.sitting_s, later.elapsed_s) == (5, 95)


def test_time_banked_after_the_start_counts_too():
    """So a run is restored: its clock runs while the state is being read."""
    watch = Watch()
    clock = Clock(now=watch)
    watch.time += 3
    clock.banked_s = 60.0
    assert (clock.sitting_s, clock.elapsed_s) == (3, 63)
