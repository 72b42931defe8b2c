"""Folder: every case lands in one part, the same on every machine, and nothing is left out in silence."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from DABSegCore.cases import write_split
from DABSegCore.errors import InputError
from DABSegCore.training.folder import draw_split, read_folder

NAMES_2020 = ("_t1", "_t1ce", "_t2", "_flair", "_seg")
NAMES_2023 = ("-t1n", "-t1c", "-t2w", "-t2f", "-seg")
BRATS_2020 = [f"BraTS20_Training_{number:03}" for number in range(1, 370)]


def make_case(folder: Path, names: tuple[str, ...] = NAMES_2020, leave_out: str | None = None) -> Path:
    """A case folder of empty files: what a case is hangs on names alone."""
    folder.mkdir(parents=True)
    for name in names:
        if name != leave_out:
            (folder / f"{folder.name}{name}.nii.gz").touch()
    return folder


def make_cases(data: Path, *names: str) -> Path:
    for name in names:
        make_case(data / name)
    return data


def parts_of(data: Path, **kwargs) -> tuple[list[str], list[str], list[str], tuple[str, ...]]:
    """Case ids of each part, and the sentences."""
    parts = read_folder(data, **kwargs)
    split = parts.split()
    assert list(split) == ["train", "validation", "test"]
    assert all(ids == sorted(ids) for ids in split.values())
    assert len(set().union(*split.values())) == sum(map(len, split.values()))
    assert all("\n" not in sentence for sentence in parts.skipped)
    return split["train"], split["validation"], split["test"], parts.skipped


def fault(data: Path, **kwargs) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        read_folder(data, **kwargs)
    assert "\n" not in str(caught.value)
    return caught.value.code, str(caught.value)


def sizes(case_ids: list[str], seed: int = 0) -> tuple[int, int, int]:
    split = draw_split(case_ids, seed)
    assert sorted(sum(split.values(), [])) == sorted(case_ids)
    return len(split["train"]), len(split["validation"]), len(split["test"])


# ---------------------------------------------------------------- the draw


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        *[(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (2, 1, 0)), (4, (3, 1, 0)), (5, (3, 1, 1)), (14, (12, 1, 1))],
        *[(15, (11, 2, 2)), (16, (12, 2, 2)), (29, (23, 3, 3)), (30, (24, 3, 3)), (60, (48, 6, 6))],
        *[(369, (295, 37, 37)), (1251, (1001, 125, 125))],
    ],
)
def test_eight_to_one_to_one(count, expected):
    assert sizes([f"case_{number}" for number in range(count)]) == expected
    assert sizes([f"BraTS20_Training_{number + 1:03}" for number in range(count)]) == expected


def test_the_draw_is_an_order_by_digest():
    """The slow obvious version: sort by SHA-256 of seed and name; the end validates, what is before it tests."""
    for seed in (0, 7):
        names = [f"c{number}" for number in range(20)]
        order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())  # noqa: B023
        split = draw_split(names, seed)
        assert set(split["validation"]) == set(order[-2:])
        assert set(split["test"]) == set(order[-4:-2])
        assert set(split["train"]) == set(order[:-4])


def test_the_draw_is_the_same_everywhere_and_in_any_order():
    names = [f"case_{number:02}" for number in range(12)]
    split = draw_split(names, seed=0)
    assert (split["validation"], split["test"]) == (["case_06"], ["case_07"])
    shuffled = random.Random(1).sample(names, len(names))
    assert draw_split(shuffled, seed=0) == split
    assert len({tuple(draw_split(names, seed)["validation"]) for seed in range(20)}) > 5


def test_cases_of_the_published_readme_are_where_it_shows_them():
    for seed in range(5):
        split = draw_split(BRATS_2020, seed)
        assert {BRATS_2020[number - 1] for number in (1, 2)} <= set(split["train"])
        assert {BRATS_2020[number - 1] for number in (3, 4)} <= set(split["validation"])
        assert {BRATS_2020[number - 1] for number in (8, 26, 29)} <= set(split["test"])
    assert set(draw_split(BRATS_2020[:30], 0)["test"]) == {BRATS_2020[number - 1] for number in (8, 26, 29)}
    pair = {"BraTS20_Training_001", "BraTS20_Training_002"}
    in_train = [pair <= set(draw_split(BRATS_2020[:29], seed)["train"]) for seed in range(30)]
    assert not all(in_train), "small folders are drawn freely"


def test_visits_of_one_patient_stay_together():
    visits = [f"BraTS-GLI-{patient:05}-{visit:03}" for patient in range(40) for visit in range(1 + patient % 3)]
    for seed in range(10):
        split = draw_split(visits, seed)
        patients = [{case_id[:-4] for case_id in split[part]} for part in split]
        assert sum(map(len, patients)) == 40
        assert all(8 <= len(split[part]) <= 10 for part in ("validation", "test")), "79 cases, 8 and what comes along"
    one = [f"BraTS-GLI-00007-{visit:03}" for visit in range(10)]
    assert sizes(one) == (10, 0, 0)
    assert sizes([*one, "BraTS-GLI-00008-000"])[2] == 0, "of two patients one trains and one validates"
    assert 0 < sizes([*one, "BraTS-GLI-00008-000"])[1] < 11


# ---------------------------------------------------------------- a folder as published


def test_a_folder_of_both_name_families_at_any_depth(tmp_path):
    make_cases(tmp_path, "HGG/a", "HGG/b", "LGG/c")
    make_case(tmp_path / "new" / "BraTS-GLI-00000-000", NAMES_2023)
    make_cases(tmp_path, ".a.123.tmp", ".hidden/d")
    parts = read_folder(tmp_path)
    cases = {case.case_id: case for case in (*parts.train, *parts.validation, *parts.test)}
    assert sorted(cases) == ["BraTS-GLI-00000-000", "a", "b", "c"]
    assert cases["BraTS-GLI-00000-000"].segmentation.name == "BraTS-GLI-00000-000-seg.nii.gz"
    assert (len(parts.train), len(parts.validation), parts.test, parts.skipped) == (3, 1, (), ())


def test_where_a_case_lies_does_not_move_it(tmp_path):
    names = [f"case_{number}" for number in range(10)]
    here = parts_of(make_cases(tmp_path / "here", *names))
    there = parts_of(make_cases(tmp_path / "there", *(f"{9 - i}/{name}" for i, name in enumerate(names))))
    assert here == there
    split = draw_split(names, 0)
    assert here == (sorted(split["train"]), split["validation"], split["test"], ())
    assert parts_of(tmp_path / "here", seed=3)[1] == draw_split(names, 3)["validation"]


def test_unlabelled_and_incomplete_cases_are_left_out_by_name(tmp_path):
    make_cases(tmp_path, "a", "b")
    make_case(tmp_path / "bare", leave_out="_seg")
    make_case(tmp_path / "partial", leave_out="_t1ce")
    (make_case(tmp_path / "double") / "double-t2w.nii.gz").touch()
    train, validation, test, skipped = parts_of(tmp_path)
    assert (sorted(train + validation), test, len(skipped)) == (["a", "b"], [], 3)
    bare, double, partial = sorted(skipped)
    assert bare.startswith("bare is left out: ")
    assert "has no segmentation" in bare
    assert "two t2 images" in double
    assert partial.startswith("partial is left out: ")
    assert "has no t1ce image" in partial


def test_case_355_of_2020_is_told_how_its_segmentation_is_to_be_called(tmp_path):
    make_cases(tmp_path, "a", "b")
    folder = make_case(tmp_path / "BraTS20_Training_355", leave_out="_seg")
    (folder / "._W39_1998.09.19_Segm.nii").touch()
    (folder / "W39_1998.09.19_Segm.nii").touch()
    (folder / "A_seg.txt").touch()
    (sentence,) = parts_of(tmp_path)[3]
    assert sentence.startswith(f"BraTS20_Training_355 is left out: {folder} has no segmentation")
    assert sentence.endswith("if W39_1998.09.19_Segm.nii is it, rename that to BraTS20_Training_355_seg.nii")
    (folder / "W39_1998.09.19_Segm.nii").rename(folder / "BraTS20_Training_355_seg.nii")
    assert parts_of(tmp_path)[3] == ()


def test_two_cases_of_one_name_are_refused(tmp_path):
    make_cases(tmp_path, "Train/a", "Train/b", "Val/a")
    code, message = fault(tmp_path)
    assert code == "same-case-twice"
    assert str(tmp_path / "Train" / "a") in message
    assert str(tmp_path / "Val" / "a") in message
    (tmp_path / "Val" / "a" / "a_seg.nii.gz").unlink()  # cannot train, so cannot leak
    assert parts_of(tmp_path)[0] != []


def test_folders_with_nothing_to_train_on(tmp_path):
    assert fault(tmp_path / "none")[0] == "missing-file"
    assert fault(tmp_path)[0] == "no-case"
    make_case(tmp_path / "a", leave_out="_seg")
    make_case(tmp_path / "b", leave_out="_t2")
    code, message = fault(tmp_path)
    assert code == "no-cases"
    assert f"none of the 2 cases in {tmp_path}" in message
    assert f"{tmp_path / 'a'} has no segmentation" in message
    make_case(tmp_path / "c")
    code, message = fault(tmp_path)
    assert code == "too-few-cases"
    assert "1 case to train and 0 cases to validate with" in message
    assert f"; 2 cases left out, the first as {tmp_path / 'a'} has no segmentation" in message
    assert fault(tmp_path / "c")[0] == "too-few-cases"


# ---------------------------------------------------------------- a folder split already


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "VALID", "Testing"), ("TRAIN", "Validation", "Test")]
)
def test_folders_of_parts_decide(tmp_path, names):
    for name, cases in zip(names, (("a", "deep/z"), ("b",), ("c", "d")), strict=True):
        make_cases(tmp_path / name, *cases)
    make_cases(tmp_path, "more/x", "y")
    train, validation, test, skipped = parts_of(tmp_path)
    assert (train, validation, test) == (["a", "z"], ["b"], ["c", "d"])
    assert len(skipped) == 1
    assert "2 cases outside of the folders" in skipped[0]
    assert skipped[0].endswith(": x, y")
    assert parts_of(tmp_path, seed=9)[:3] == (train, validation, test)


def test_a_missing_part_to_validate_is_drawn_from_train_and_said(tmp_path):
    make_cases(tmp_path / "train", *(f"t{number:02}" for number in range(20)))
    make_cases(tmp_path / "test", "u")
    train, validation, test, skipped = parts_of(tmp_path)
    assert (len(train), len(validation), test) == (18, 2, ["u"])
    assert len(skipped) == 1
    assert all(case_id in skipped[0] for case_id in validation)
    assert parts_of(tmp_path)[:3] == (train, validation, test)
    assert any(parts_of(tmp_path, seed=seed)[1] != validation for seed in range(1, 4))


def test_an_unlabelled_part_to_validate_counts_as_missing(tmp_path):
    """As the organisers hand it out: their validation cases have no segmentation."""
    make_cases(tmp_path / "train", "a", "b", "c")
    make_case(tmp_path / "val" / "v", leave_out="_seg")
    train, validation, test, skipped = parts_of(tmp_path)
    assert (len(train), len(validation), test) == (2, 1, [])
    assert [sentence.split()[0] for sentence in skipped][0] == "v"
    assert len(skipped) == 2


def test_train_alone_is_a_folder_like_any_other(tmp_path):
    make_cases(tmp_path, *(f"train/k{number}" for number in range(9)), "other/x")
    (tmp_path / "test").touch()  # a file decides nothing
    train, validation, test, skipped = parts_of(tmp_path)
    assert (len(train), len(validation), len(test), skipped) == (8, 1, 1, ())


def test_parts_without_one_to_train_are_folders_like_any_other(tmp_path):
    make_cases(tmp_path, *(f"val/k{number}" for number in range(4)), "test/x")
    train, validation, test, skipped = parts_of(tmp_path)
    assert (len(train), len(validation), len(test), skipped) == (3, 1, 1, ())


def test_a_case_with_folders_named_like_parts_is_one_case(tmp_path):
    make_cases(make_case(tmp_path / "a"), "train/b", "val/c")
    assert "0 cases to train" in fault(tmp_path / "a")[1]


def test_a_split_folder_without_enough(tmp_path):
    make_cases(tmp_path, "train/a", "test/b")
    code, message = fault(tmp_path)
    assert code == "too-few-cases"
    assert "1 case to train and 0 cases to validate" in message
    (tmp_path / "train" / "a" / "a_seg.nii.gz").unlink()
    assert "0 cases to train" in fault(tmp_path)[1]


# ---------------------------------------------------------------- a split file


def test_a_split_comes_back_as_it_was_written(tmp_path):
    data = make_cases(tmp_path / "data", *(f"case_{number}" for number in range(12)))
    parts = read_folder(data, seed=5)
    write_split(tmp_path / "split.json", parts.split())
    assert read_folder(data, split=tmp_path / "split.json", seed=6) == parts


def test_a_split_file_beats_folders_and_leaves_the_rest_out(tmp_path):
    data = make_cases(tmp_path / "data", "train/a", "train/b", "val/c", "test/d", *(f"test/e{i}" for i in range(7)))
    write_split(tmp_path / "split.json", {"Train": ["d", "c"], "val": ["a"], "test": ["b", "gone"]})
    train, validation, test, skipped = parts_of(data, split=tmp_path / "split.json")
    assert (train, validation, test) == (["c", "d"], ["a"], ["b"])
    gone, extra = skipped
    assert gone.startswith("left out: 1 case of the test part")
    assert gone.endswith(": gone")
    assert extra.startswith("left out: 7 cases of ")
    assert extra.endswith(": e0, e1, e2, e3, e4 and 2 more")


def test_cases_of_a_split_that_are_absent_or_unlabelled_are_refused(tmp_path):
    data = make_cases(tmp_path / "data", "a", "b")
    make_case(data / "bare", leave_out="_seg")
    split = tmp_path / "split.json"
    write_split(split, {"train": ["a", "y", "x"], "validation": ["z"]})
    code, message = fault(data, split=split)
    assert code == "missing-case"
    assert "names x and 2 more, not among the 2 cases with a segmentation" in message
    write_split(split, {"train": ["a"], "validation": ["bare"]})
    code, message = fault(data, split=split)
    assert code == "missing-case"
    assert f"names bare, not among the 2 cases with a segmentation in {data} ({data / 'bare'} has no seg" in message


@pytest.mark.parametrize(
    ("split", "code"),
    [
        ({"train": ["a"], "fold_2": ["b"]}, "bad-split"),
        ({"train": ["a"], "validation": ["a"]}, "bad-split"),
        (["a"], "bad-split"),
        ({"train": ["a", "b"]}, "too-few-cases"),
        ({"validation": ["a", "b"], "train": []}, "too-few-cases"),
    ],
)
def test_split_files_that_cannot_be_followed(tmp_path, split, code):
    (tmp_path / "split.json").write_text(json.dumps(split), encoding="utf-8")
    assert fault(make_cases(tmp_path / "data", "a", "b"), split=tmp_path / "split.json")[0] == code


# ---------------------------------------------------------------- named validation cases


def test_the_cases_named_validate_and_all_others_train(tmp_path):
    make_cases(tmp_path, "a", "b", "c", "d")
    assert parts_of(tmp_path, validation=("d", "b", "d")) == (["a", "c"], ["b", "d"], [], ())
    make_cases(tmp_path, "train/e", "test/f")
    train, validation, test, skipped = parts_of(tmp_path, validation=["e"])
    assert (train, validation, test) == (["a", "b", "c", "d", "f"], ["e"], [])
    assert "decide nothing" in skipped[0]


def test_named_validation_cases_that_cannot_be(tmp_path):
    make_cases(tmp_path, "a", "b")
    code, message = fault(tmp_path, validation=["a", "q"])
    assert code == "missing-case"
    assert "names q, not among the 2 cases" in message
    assert fault(tmp_path, validation=["a", "b"])[0] == "too-few-cases"
    assert fault(tmp_path, validation=["a"], split=tmp_path / "split.json")[0] == "two-splits"


# ---------------------------------------------------------------- real cases


def test_real_cases_of_three_years(real_cases):
    data = real_cases / "brats"
    train, validation, test, skipped = parts_of(data)
    assert (len(train), len(validation), len(test), skipped) == (12, 2, 2, ())
    assert set(train + validation + test) == {path.name for path in data.iterdir()}
    assert len(parts_of(real_cases / "original")[0]) == 1


def test_real_cases_without_a_segmentation_are_left_out(real_cases):
    train, validation, test, skipped = parts_of(real_cases)
    assert {"BraTS20_Training_002", "BraTS-GLI-00000-000"} <= set(train + validation + test)
    assert "TCGA-DU-7294" not in train + validation + test
    assert [sentence.split()[0] for sentence in skipped] == ["TCGA-DU-7294"] * 2
    assert fault(real_cases / "unlabelled")[0] == "no-cases"


# ---------------------------------------------------------------- a bare machine


def test_reading_a_folder_needs_no_more_than_numpy(tmp_path):
    make_cases(tmp_path, "a", "b")
    program = (
        "import sys, pathlib\n"
        "from DABSegCore.training.folder import read_folder\n"
        f"read_folder(pathlib.Path({str(tmp_path)!r}))\n"
        "sys.exit(', '.join({'torch', 'scipy', 'SimpleITK', 'matplotlib'} & sys.modules.keys()) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
