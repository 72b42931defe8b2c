"""Plans: those that ship are sound, what is wrong is said before anything runs, lengths are compared with restorers."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from DABSegCore.comparison.plan import SHIPPED, Plan, shipped_plan
from DABSegCore.comparison.reading import read_plan
from DABSegCore.comparison.settings import config_of, words
from DABSegCore.comparison.split import settle_split
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.motion import SEVERITIES
from DABSegCore.networks import NETWORKS, PeerConfig, family_of
from DABSegCore.progress import Progress
from DABSegCore.train import _parse
from DABSegCore.training.config import BEST_FOR

PROTOCOL = '[protocol]\nvirtual = 1\n[train]\nvirtual = 4\nsteps = 10\npreset = "small"\n'
ONE = '[[method]]\nname = "one"\n'
TWO = '[[method]]\nname = "two"\n'
NAFNET = '[[method]]\nname = "NAFNet"\njudged = false\ntrain = { preset = "nafnet-small", steps = 4 }\n'


def a_plan(folder: Path, text: str, **changes: object) -> Plan:
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return read_plan(path, changes)


def refused(folder: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as fault:
        a_plan(folder, text)
    assert fault.value.code == "bad-plan"
    assert "\n" not in str(fault.value)


# ---------------------------------------------------------------- those that ship


@pytest.mark.parametrize("name", SHIPPED)
def test_a_plan_that_ships_is_sound_and_trains_all_for_one_time(name: str, tmp_path: Path) -> None:
    plan = read_plan(shipped_plan(name), {"data": tmp_path})
    assert [sentence for sentence in plan.unequal() if "trains for" in sentence] == []
    if name != "companions":
        assert plan.by_name[plan.protocol.calibration].train["severities"] == (0,)
        assert plan.levels(plan.by_name[plan.protocol.calibration]) == tuple(SEVERITIES)


def test_the_small_plan_has_the_methods_of_the_large_one(tmp_path: Path) -> None:
    large, small = (read_plan(shipped_plan(name), {"data": tmp_path}) for name in ("gpu", "cpu"))
    assert set(large.by_name) - {"DABSeg paper", "DABSeg paper, its recipe"} == set(small.by_name) - {
        "weights that ship"
    }
    asked = {method.train.get("preset") for method in small.methods}
    peers = {config.preset for config in NETWORKS.values() if isinstance(config, PeerConfig)}
    assert {"small", "dami-small", "nafnet-small", *(name for name in peers if name.endswith("small"))} <= asked
    assert {0.0, 0.05, 0.1, 0.2} <= {method.train.get("lambda_rec") for method in small.methods}
    assert "../shared" not in shipped_plan("cpu").read_text(encoding="utf-8")


def test_the_companions_are_compared_as_the_others_but_at_rates_of_their_own(tmp_path: Path) -> None:
    small, companions = (read_plan(shipped_plan(name), {"data": tmp_path}) for name in ("cpu", "companions"))
    same = dataclasses.replace(companions.protocol, calibration=small.protocol.calibration)
    assert same == small.protocol
    rates = {m.train["preset"]: config_of(m.train, m.said).learning_rate for m in companions.methods}
    families = {family_of(NETWORKS[preset]) for preset in rates}
    assert families == {"dabseg", "nafnet", "meddeblur", "rmr", "btsegdiff"}
    assert all(rate == BEST_FOR[preset]["learning_rate"] for preset, rate in rates.items())
    stages = {m.name: m.train["total_minutes"] for m in companions.methods}
    assert all(stages[m.name] + stages[m.restorer] == 5 for m in companions.methods if m.restorer)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_words_of_a_training_say_what_the_plan_says(name: str, tmp_path: Path) -> None:
    for method in read_plan(shipped_plan(name), {"data": tmp_path}).methods:
        if method.is_trained:
            heard = {k: v for k, v in vars(_parse(words(method.train))).items() if k in method.train}
            assert heard == method.train


def test_a_plan_may_ask_for_what_no_recipe_has(tmp_path: Path) -> None:
    """Features that count, and other corruptions than motion: by the flags that say so."""
    own = 'train = { preset = "small", lambda_feat = 0.5, degrade = ["motion", "noise"] }\n'
    train = a_plan(tmp_path, PROTOCOL + ONE + TWO + own).by_name["two"].train
    said = words(train)
    assert said[said.index("--lambda-feat") + 1] == "0.5"
    assert said[said.index("--degrade") + 1 :][:2] == ["motion", "noise"]
    assert vars(_parse(said))["degrade"] == ("motion", "noise")


# ---------------------------------------------------------------- reading


def test_a_method_has_the_shared_settings_and_its_own_over_them(tmp_path: Path) -> None:
    own = 'train = { preset = "base", total_minutes = 3, region_weights = [2, 1, 1] }\n'
    plan = a_plan(tmp_path, PROTOCOL + ONE + TWO + own)
    assert plan.by_name["one"].train == {"virtual": 4, "steps": 10, "preset": "small"}
    assert plan.by_name["two"].train == {
        "virtual": 4,
        "preset": "base",
        "total_minutes": 3.0,  # its length replaces the shared one, which is in steps
        "region_weights": (2.0, 1.0, 1.0),
    }
    assert plan.protocol.reference == "one"
    assert plan.title == "plan"


def test_paths_start_where_the_plan_lies(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    plan = a_plan(tmp_path, PROTOCOL + ONE + 'weights = "w.pt"\n')
    assert plan.by_name["one"].weights == tmp_path / "w.pt"
    assert not plan.by_name["one"].is_trained


def test_a_restorers_time_counts_for_those_it_restores_for(tmp_path: Path) -> None:
    second = TWO + 'restorer = "NAFNet"\ntrain = {{ preset = "dami-small", steps = {} }}\n'
    assert a_plan(tmp_path, PROTOCOL + ONE + NAFNET + second.format(6)).unequal() == []
    assert a_plan(tmp_path, PROTOCOL + ONE + NAFNET + second.format(7)).unequal() == [
        "two trains for 11 steps, one for 10 steps"
    ]


def test_what_is_not_trained_here_is_told_as_unequal(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    (sentence,) = a_plan(tmp_path, PROTOCOL + ONE + TWO + 'weights = "w.pt"\n').unequal()
    assert sentence.startswith("two: not trained here")


def test_a_name_becomes_a_folder(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, PROTOCOL + '[[method]]\nname = "λ 0.1, ET (twice)!"\n')
    assert plan.methods[0].slug == "0.1-et-twice"


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = ", "is no TOML"),
        ("[protocol]\nvirtual = 1\n", "names no method"),
        ("methods = 1\n" + PROTOCOL + ONE, "perhaps it is 'method'"),
        (PROTOCOL.replace("virtual = 1", "virtuel = 1") + ONE, "has 'virtuel', which is not known; perhaps it is 'vir"),
        (PROTOCOL.replace("virtual = 1", "virtual = 1.5") + ONE, "virtual = 1.5, but it must be a whole number"),
        (PROTOCOL.replace("virtual = 1", "virtual = -1") + ONE, "virtual = -1, but it must be 0 to"),
        (PROTOCOL.replace("virtual = 1", "seed = 1") + ONE, "there is no case to judge on"),
        (PROTOCOL.replace("virtual = 1", "virtual = 1\ndraw = true") + ONE, "chooses among cases, but there are none"),
        (PROTOCOL.replace("virtual = 1", "virtual = 1\ndata = 'd'") + ONE, "in one way which cases"),
        (PROTOCOL.replace("virtual = 1", "virtual = 1\nseverities = [0, 5]") + ONE, "levels are 0 to 4"),
        (PROTOCOL.replace("virtual = 1", "virtual = 1\nreference = 'x'") + ONE, "reference = 'x', but no method"),
        (PROTOCOL.replace("virtual = 1", "virtual = 1\ncalibration = 'x'") + ONE, "calibration = 'x', but no method"),
        (PROTOCOL.replace("virtual = 1", "virtual = 1\ncheckpoint = 'b'") + ONE, "must be one of 'last', 'best'"),
        (PROTOCOL.replace("virtual = 4\n", "") + ONE, "'one' has nothing to train on"),
        (PROTOCOL.replace('preset = "small"', "") + ONE, "names no network"),
        (PROTOCOL + "[[method]]\n", "method 1 of the plan has no name"),
        (PROTOCOL + ONE + ONE, "would share a folder"),
        (PROTOCOL + ONE + "[[method]]\nname = 'One!'\n", "would share a folder"),
        (PROTOCOL + "[[method]]\nname = 'λ'\n", "no letter or digit"),
        (PROTOCOL + ONE + "judged = false\n", "no method of the plan is judged"),
        (PROTOCOL + ONE + "paper = 'DABseg'\n", "perhaps it is 'DABSeg'"),
        (PROTOCOL + ONE + "train = { preset = 'smal' }\n", "'smal', which is not known; perhaps it is 'small'"),
        (PROTOCOL + ONE + "train = { pathc = 96 }\n", "'pathc', which is not known; perhaps it is 'patch'"),
        (PROTOCOL + ONE + "train = { patch = 'big' }\n", "patch = 'big', but it must be a whole number"),
        (PROTOCOL + ONE + "train = { augment = 1 }\n", "augment = 1, but it must be true or false"),
        (PROTOCOL + ONE + "train = { severities = 2 }\n", "must be a list of values, each a whole number"),
        (PROTOCOL + ONE + "train = { region_weights = [1, 2] }\n", "must be a list of 3 values"),
        (PROTOCOL + ONE + "train = { patch = 90 }\n", "cannot be trained: --patch is 90"),
        (PROTOCOL + ONE + "train = { steps = 5, epochs = 2 }\n", "both say how long"),
        (PROTOCOL + ONE + "train = { validation = ['a'] }\n", "[protocol] says which cases train"),
        (PROTOCOL + ONE + "train = { device = 'cpu' }\n", "--device says where"),
        (PROTOCOL + ONE + "train = { restorer = 'NAFNet' }\n", "the method's own key restorer"),
        (PROTOCOL + ONE + TWO + "restorer = 'three'\n", "no method trained before it"),
        (PROTOCOL + ONE + "restorer = 'NAFNet'\n" + NAFNET, "no method trained before it"),
        (PROTOCOL + ONE + TWO + "restorer = 'two'\n", "no method trained before it"),
        (PROTOCOL + ONE + "train = { preset = 'dynunet' }\n" + TWO + "restorer = 'one'\n", "restores nothing"),
        (PROTOCOL + ONE + "train = { preset = 'dami-small' }\n" + TWO + "restorer = 'one'\n", "restores nothing"),
        (PROTOCOL + ONE + NAFNET.replace("judged = false\n", ""), "outlines nothing"),
        (PROTOCOL + ONE + "weights = 'w.pt'\ntrain = { patch = 96 }\n", "ready made, so train means nothing"),
        (PROTOCOL + ONE + "predictions = 'p'\n", "predictions of real cases"),
    ],
)
def test_a_bad_plan_is_refused_in_a_sentence(text: str, said: str, tmp_path: Path) -> None:
    refused(tmp_path, text, said)


def test_weights_that_are_not_there_are_missed_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"w\.pt does not exist"):
        a_plan(tmp_path, PROTOCOL + ONE + "weights = 'w.pt'\n")


def test_a_plan_means_the_same_with_and_without_a_gpu() -> None:
    assert config_of({"recipe": "paper"}, "it").preset == "paper"
    with pytest.raises(InputError, match="names no network"):
        config_of({"recipe": "best", "steps": 3}, "it")


# ---------------------------------------------------------------- who is judged


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases; images are not opened."""
    folder = tmp_path_factory.mktemp("data")
    for name in "abcde":
        (folder / name).mkdir()
        for kind in (*MODALITIES, "seg"):
            (folder / name / f"{name}_{kind}.nii.gz").touch()
    return folder


def settled(folder: Path, data: Path, text: str) -> tuple[dict, str]:
    plan = a_plan(folder, f'[protocol]\ndata = "{data.as_posix()}"\n{text}\n[train]\npreset = "small"\n' + ONE)
    path, part = settle_split(plan, folder, Progress("quiet"))
    return json.loads(path.read_text(encoding="utf-8")), part


def test_the_cases_that_choose_weights_are_others_than_those_judged(tmp_path: Path, data: Path) -> None:
    split, part = settled(tmp_path, data, 'validation = ["a", "b"]\nchoose = ["d"]')
    assert split == {"train": ["c", "e"], "validation": ["d"], "test": ["a", "b"]}
    assert part == "test"


def test_without_any_those_that_are_judged_choose(tmp_path: Path, data: Path) -> None:
    split, part = settled(tmp_path, data, 'validation = ["a", "b"]')
    assert split == {"train": ["c", "d", "e"], "validation": ["a", "b"], "test": []}
    assert part == "validation"


def test_a_drawn_split_is_judged_on_its_test_part(tmp_path: Path, data: Path) -> None:
    split, part = settled(tmp_path, data, "draw = true")
    assert sorted(sum(split.values(), [])) == list("abcde")
    assert part == "test"
    assert len(split["test"]) == 1


def test_a_split_of_ones_own_is_taken_as_it_is(tmp_path: Path, data: Path) -> None:
    own = {"train": ["a"], "validation": ["b"], "test": ["c", "d"]}
    (tmp_path / "own.json").write_text(json.dumps(own), encoding="utf-8")
    assert settled(tmp_path, data, 'split = "own.json"\npart = "testing"') == (own, "test")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('validation = ["a", "x"]', "names x"),
        ('validation = ["a"]\nchoose = ["x"]', "names x, which is not among them"),
        ('validation = ["a"]\nchoose = ["b", "c", "d", "e"]', "leaves none of them to train on"),
        ('validation = ["a"]\nchoose = ["a"]', "other than those of validation"),
        ('split = "own.json"\npart = "exam"', "no case in a part 'exam', only train (1)"),
    ],
)
def test_cases_that_cannot_be_are_refused(text: str, said: str, tmp_path: Path, data: Path) -> None:
    (tmp_path / "own.json").write_text('{"train": ["a"], "validation": ["b"]}', encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(said)):
        settled(tmp_path, data, text)


def test_a_folder_keeps_to_its_cases(tmp_path: Path, data: Path) -> None:
    settled(tmp_path, data, 'validation = ["a"]')
    with pytest.raises(InputError, match="comparison on other cases"):
        settled(tmp_path, data, 'validation = ["b"]')
