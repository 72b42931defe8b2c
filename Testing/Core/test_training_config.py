"""Settings of a training: what was asked for beats the recipe, that the defaults; a resumed run keeps its own."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from DABSegCore.errors import InputError
from DABSegCore.networks import NETWORKS
from DABSegCore.training.config import BEST_FOR, BOUNDS, FREE_ON_RESUME, TrainConfig, resolve, resumed

PLACE = Path("run")

PAPER = {
    "preset": "paper",
    "patch": 128,
    "batch": 1,
    "accumulate": 1,
    "severities": (4,),
    "fresh_motion": False,
    "pool": 1,
    "patches_per_twin": 1,
    "tumour_share": 0.0,
    "augment": False,
    "optimiser": "adam",
    "learning_rate": 1e-4,
    "last_learning_rate": 1e-5,
    "weight_decay": 1e-5,
    "warm_up_steps": 0,
    "lambda_rec": 0.1,
    "rec_over": "crop",
    "batch_dice": False,
    "bce": False,
    "region_weights": (1.0, 1.0, 1.0),
    "late_region_weights": (2.0, 1.0, 1.0),
    "late_from": 5 / 6,
    "ema": 0.0,
    "clip": 0.0,
    "epochs": 300.0,
    "mixed": False,
}
"""The published training: 250 epochs and then 50 with ET counted twice, the last sixth of all 300."""


def settings(config: TrainConfig) -> dict:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def there(**asked: object) -> dict:
    """Settings as the state file of a run with these holds them."""
    return resolve({"virtual": 4, "preset": "small", "steps": 100, **asked}, on_gpu=False).as_dict()


def test_without_a_word_the_machine_decides_the_preset_and_the_preset_the_rest():
    small, base = resolve({}, on_gpu=False), resolve({}, on_gpu=True)
    assert (small.preset, small.patch, small.learning_rate) == ("small", 96, 3e-3)
    assert (base.preset, base.patch, base.learning_rate) == ("base", 128, 5e-4)
    assert small.recipe == base.recipe == "best"
    assert small.steps == base.steps == 20_000
    assert settings(base) == settings(TrainConfig(preset="base", steps=20_000, virtual_validation=2))


@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_is_asked_for_beats_the_recipe_and_the_recipe_the_machine(on_gpu):
    config = resolve({"preset": "small", "patch": 64}, on_gpu)
    assert (config.preset, config.patch, config.learning_rate) == ("small", 64, 3e-3)
    config = resolve({"recipe": "paper", "patch": 64, "ema": 0.9}, on_gpu)
    assert (config.preset, config.patch, config.ema, config.batch) == ("paper", 64, 0.9, 1)


def test_what_is_asked_for_is_taken_even_where_it_is_nothing():
    config = resolve({"augment": False, "ema": 0.0, "prefetch": 0, "warm_up_steps": 0, "virtual_validation": 0}, True)
    assert (config.augment, config.ema, config.prefetch, config.warm_up_steps) == (False, 0.0, 0, 0)
    assert config.virtual_validation == 0


def test_the_recipe_of_the_paper_line_by_line():
    config = settings(resolve({"recipe": "paper", "data": Path("data")}, on_gpu=False))
    assert {name: config[name] for name in PAPER} == PAPER
    default = {**settings(TrainConfig()), "recipe": "paper", "data": Path("data")}
    assert {k: v for k, v in config.items() if k not in PAPER} == {k: v for k, v in default.items() if k not in PAPER}


def test_the_paper_recipe_with_another_preset_takes_nothing_from_ours():
    config = resolve({"recipe": "paper", "preset": "small"}, on_gpu=False)
    assert {name: getattr(config, name) for name in PAPER if name != "preset"} == {
        name: value for name, value in PAPER.items() if name != "preset"
    }
    assert config.preset == "small"


def test_every_preset_has_its_defaults():
    assert set(BEST_FOR) <= set(NETWORKS)
    for preset in NETWORKS:
        assert resolve({"preset": preset}, on_gpu=False).preset == preset


@pytest.mark.parametrize("recipe", ["best", "paper"])
@pytest.mark.parametrize("length", [{"steps": 7}, {"epochs": 2.5}, {"total_minutes": 3.0}])
def test_a_length_takes_the_place_of_the_recipes(recipe, length):
    config = resolve({"recipe": recipe, **length}, on_gpu=False)
    found = {name: getattr(config, name) for name in ("steps", "epochs", "total_minutes", "max_minutes")}
    assert {name: value for name, value in found.items() if value is not None} == length


@pytest.mark.parametrize("recipe", ["best", "paper"])
def test_max_minutes_alone_is_the_schedule_and_beside_a_length_only_ends_the_sitting(recipe):
    alone = resolve({"recipe": recipe, "max_minutes": 10.0}, on_gpu=False)
    assert (alone.max_minutes, alone.total_minutes, alone.steps, alone.epochs) == (10, 10, None, None)
    beside = resolve({"recipe": recipe, "max_minutes": 10.0, "steps": 500}, on_gpu=False)
    assert (beside.max_minutes, beside.total_minutes, beside.steps, beside.epochs) == (10, None, 500, None)


def test_without_real_cases_two_virtual_ones_validate():
    assert resolve({"virtual": 3}, False).virtual_validation == 2
    assert resolve({"virtual": 3, "virtual_validation": 5}, False).virtual_validation == 5
    assert resolve({"data": Path("data")}, False).virtual_validation == 0


@pytest.mark.parametrize("name", BOUNDS)
def test_numbers_out_of_bounds_are_refused_by_the_flag_and_those_on_them_taken(name):
    low, high = BOUNDS[name]
    fine = {"patch": 32, "batch": 4096} if name == "accumulate" else {}
    for value in (low, high):
        assert getattr(TrainConfig(**{**fine, name: value}), name) == value
    flag = "--" + name.replace("_", "-")
    for value in (low - 1, high + 1, float("nan")):
        with pytest.raises(InputError, match=rf"^{flag} is .*must be .* to ") as fault:
            TrainConfig(**{name: value})
        assert fault.value.code == "bad-argument"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"patch": 100}, "--patch is 100, but must be a multiple of 32"),
        ({"batch": 4, "accumulate": 3}, "--batch 4 does not divide into --accumulate 3 parts"),
        ({"severities": ()}, "--severities must name levels from 0 to 4"),
        ({"severities": (2, 5)}, "--severities must name levels from 0 to 4"),
        ({"severities": (-1,)}, "--severities must name levels from 0 to 4"),
        ({"degrade": ()}, "--degrade must name one or more of motion, blur"),
        ({"degrade": ("motion", "fog")}, "--degrade must name one or more of motion, blur"),
        ({"steps": 5, "epochs": 1.0}, "--steps and --epochs both say how long"),
        ({"epochs": 1.0, "total_minutes": 5.0}, "--epochs and --total-minutes both say how long"),
        ({"steps": 5, "epochs": 1.0, "total_minutes": 5.0}, "--steps and --epochs and --total-minutes"),
        ({"region_weights": (0.0, 0.0, 0.0)}, "--region-weights must be 0 or more, and not all 0"),
        ({"late_region_weights": (2.0, -1.0, 1.0)}, "--late-region-weights must be 0 or more, and not all 0"),
        ({"region_weights": (float("nan"), 1.0, 1.0)}, "--region-weights must be 0 or more, and not all 0"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(InputError, match=f"^{sentence}") as fault:
        TrainConfig(**given)
    assert fault.value.code == "bad-argument"


def test_every_setting_is_a_flag_with_a_group_and_a_help():
    for setting in dataclasses.fields(TrainConfig):
        assert set(setting.metadata) == {"group", "help", "choices"}, setting.name
        assert setting.metadata["group"] in ("data", "network", "recipe", "length", "machine")
        assert setting.metadata["help"]
    names = {setting.name for setting in dataclasses.fields(TrainConfig)}
    assert set(BOUNDS) <= names
    assert set(FREE_ON_RESUME) <= names


@pytest.mark.parametrize("recipe", ["best", "paper"])
def test_settings_survive_json(recipe):
    asked = {"recipe": recipe, "data": Path("a") / "b", "split": Path("s.json"), "init": Path("w.pt"), "seed": 9}
    config = resolve({**asked, "validation": ("x", "y"), "severities": (0, 4), "steps": 10}, on_gpu=False)
    there_and_back = json.loads(json.dumps(config.as_dict()))
    assert resumed(there_and_back, {}, PLACE) == config
    assert resumed(config.as_dict(), {}, PLACE) == config
    assert config.as_dict()["data"] == str(Path("a") / "b")


def test_a_card_names_the_recipe_but_no_place_on_a_machine():
    facts = resolve({"data": Path("/home/me"), "split": Path("/home/s"), "init": Path("/home/w")}, False).recipe_facts()
    assert "/home" not in json.dumps(facts)
    assert {"preset", "recipe", "patch", "learning_rate", "severities", "seed", "steps"} <= set(facts)


def test_a_run_is_resumed_as_it_was_but_without_its_last_limit():
    saved = there(max_minutes=10.0, seed=3)
    config = resumed(saved, {}, PLACE)
    assert config.max_minutes is None
    assert {**config.as_dict(), "max_minutes": 10.0} == saved


def test_a_run_limited_by_max_minutes_alone_keeps_that_as_its_schedule():
    saved = resolve({"virtual": 4, "max_minutes": 10.0}, on_gpu=False).as_dict()
    config = resumed(saved, {"max_minutes": 2.0}, PLACE)
    assert (config.total_minutes, config.max_minutes) == (10, 2)


def test_the_same_settings_may_be_given_again():
    asked = {"virtual": 4, "preset": "small", "steps": 100, "severities": (1, 2), "recipe": "best"}
    assert resumed(there(**asked), asked, PLACE).severities == (1, 2)


def test_where_and_how_long_to_compute_may_differ():
    free = {
        "data": Path("elsewhere"),
        "max_minutes": 3.0,
        "save_minutes": 1.0,
        "device": "cpu",
        "compile": True,
        "prefetch": 0,
        "residence": "disk",
    }
    assert set(free) == set(FREE_ON_RESUME)
    config = resumed(there(), free, PLACE)
    assert {name: getattr(config, name) for name in free} == free
    assert {k: v for k, v in config.as_dict().items() if k not in free} == {
        k: v for k, v in there().items() if k not in free
    }


@pytest.mark.parametrize("name", sorted({f.name for f in dataclasses.fields(TrainConfig)} - set(FREE_ON_RESUME)))
def test_any_other_setting_is_refused(name):
    value = getattr(resolve({"virtual": 4, "preset": "small", "steps": 100}, False), name)
    others = {bool: not value, int: 7, float: 0.125, str: "other", tuple: ("other",), type(None): 5}
    with pytest.raises(InputError, match="has other settings") as fault:
        resumed(there(), {name: others[type(value)]}, PLACE)
    assert fault.value.code == "other-settings"


def test_all_differences_are_named_with_both_values():
    asked = {"seed": 0, "patch": 64, "severities": (1, 2), "max_minutes": 5.0, "learning_rate": 0.002}
    with pytest.raises(InputError) as fault:
        resumed(there(), asked, PLACE)
    sentence = str(fault.value)
    assert "--patch 96 there, 64 asked" in sentence
    assert "--severities 0 1 2 2 3 3 there, 1 2 asked" in sentence
    assert "--learning-rate 0.003 there, 0.002 asked" in sentence
    assert "--seed" not in sentence
    assert "--max-minutes" not in sentence
    assert f"--init {PLACE / 'best.pt'}" in sentence


@pytest.mark.parametrize(
    ("change", "code"),
    [({"nobody": 1}, "bad-run"), ({"patch": "large"}, "bad-run"), ({"data": 5}, "bad-run"), ({"patch": 0}, None)],
)
def test_settings_that_are_none_are_refused(change, code):
    with pytest.raises(InputError) as fault:
        resumed({**there(), **change}, {}, PLACE)
    assert code is None or (fault.value.code == code and "start another run" in str(fault.value))
