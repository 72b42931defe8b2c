"""Cases: found by name, loaded onto one grid, and every mistake in a folder told in one sentence."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from DABSegCore.cases import case_folders, case_from_paths, find_case, find_cases, load_case, read_split, write_split
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.volume import Volume, write_volume

NAMES_2020 = ("_t1", "_t1ce", "_t2", "_flair", "_seg")
NAMES_2023 = ("-t1n", "-t1c", "-t2w", "-t2f", "-seg")


def head(seed, shape=(8, 10, 12)):
    array = np.zeros(shape, dtype=np.float32)
    array[2:-2, 2:-2, 2:-2] = np.random.default_rng(seed).uniform(10, 100, np.array(shape) - 4)
    return array


def tumour(shape=(8, 10, 12), enhancing=4):
    label = np.zeros(shape, dtype=np.uint8)
    label[3:5, 3:6, 3:7] = 2
    label[3:5, 4:5, 4:6] = enhancing
    return label


def write_case(folder, case_id="case", names=NAMES_2020, suffix=".nii.gz", affine=None, enhancing=4):
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.eye(4) if affine is None else affine
    for seed, name in enumerate(names[:4]):
        write_volume(folder / f"{case_id}{name}{suffix}", Volume(head(seed), affine))
    write_volume(folder / f"{case_id}{names[4]}{suffix}", Volume(tumour(enhancing=enhancing), affine))
    return folder


def fault(function, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return caught.value.code, str(caught.value)


def load(folder, **kwargs):
    """The loaded case and the warnings on the way."""
    said = []
    return load_case(find_case(folder), on_warning=said.append, **kwargs), said


# ---------------------------------------------------------------- finding


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("names", [NAMES_2020, NAMES_2023, tuple(name.upper() for name in NAMES_2020)])
def test_names_of_both_years_in_every_format(tmp_path, names, suffix):
    folder = write_case(tmp_path / "Fall ä 1", "BraTS-GLI-00000-000", names, suffix)
    case = find_case(folder)
    assert case.case_id == "BraTS-GLI-00000-000"
    assert tuple(case.paths) == MODALITIES
    expected = [f"BraTS-GLI-00000-000{name}{suffix}" for name in names]
    assert [path.name for path in case.paths.values()] == expected[:4]
    assert case.segmentation.name == expected[4]


def test_loaded_case_holds_what_was_written_2023_labels_as_2020(tmp_path):
    loaded, said = load(write_case(tmp_path / "a", names=NAMES_2023, enhancing=3))
    np.testing.assert_array_equal(loaded.images, [head(seed) for seed in range(4)])
    np.testing.assert_array_equal(loaded.label, tumour())
    assert loaded.images.dtype == np.float32
    assert loaded.label.dtype == np.uint8
    assert said == []


def test_a_segmentation_is_optional(tmp_path):
    folder = write_case(tmp_path / "a")
    (folder / "case_seg.nii.gz").unlink()
    assert find_case(folder).segmentation is None
    assert load(folder)[0].label is None


def test_names_that_disagree_take_the_name_of_the_folder(tmp_path):
    folder = write_case(tmp_path / "patient seven")
    (folder / "case_t2.nii.gz").rename(folder / "other_t2.nii.gz")
    assert find_case(folder).case_id == "patient seven"
    for name in NAMES_2020:
        path = folder / ("other_t2.nii.gz" if name == "_t2" else f"case{name}.nii.gz")
        path.rename(folder / f"{name[1:]}.nii.gz")
    assert find_case(folder).case_id == "patient seven"


def test_other_files_and_hidden_files_are_passed_over(tmp_path):
    folder = write_case(tmp_path / "a")
    for name in ("notes.txt", "._case_t1.nii.gz", "case_t1_pseudo-clear.nii.gz", "case_t1.json", "report_t2.pdf"):
        (folder / name).write_text("")
    assert find_case(folder).paths["t1"].name == "case_t1.nii.gz"


def test_a_cohort_at_any_depth_sorted_and_bad_cases_still_listed(tmp_path):
    for name in ("LGG/b", "HGG/c", "HGG/a"):
        write_case(tmp_path / name, name[-1])
    (tmp_path / "results").mkdir()
    shutil.copy(tmp_path / "LGG/b/b_seg.nii.gz", tmp_path / "results/b_seg.nii.gz")
    assert [case.case_id for case in find_cases(tmp_path)] == ["a", "c", "b"]
    assert [case.case_id for case in find_cases(tmp_path / "HGG" / "c")] == ["c"]
    (tmp_path / "HGG/a/a_t1.nii.gz").unlink()
    assert [path.name for path in case_folders(tmp_path)] == ["a", "c", "b"]
    assert fault(find_cases, tmp_path)[0] == "missing-modality"


def link(at, to):
    """A symbolic link to a folder; skips where this user may not make one."""
    at.parent.mkdir(parents=True, exist_ok=True)
    try:
        at.symlink_to(to, target_is_directory=True)
    except OSError as error:
        pytest.skip(f"no symbolic links here ({error})")


def test_links_to_cases_are_followed_and_loops_end(tmp_path):
    write_case(tmp_path / "store" / "deep" / "one", "one")
    write_case(tmp_path / "data" / "two", "two")
    link(tmp_path / "data" / "linked", tmp_path / "store" / "deep")
    link(tmp_path / "data" / "group" / "up", tmp_path / "data")
    assert case_folders(tmp_path / "data") == [tmp_path / "data" / "linked" / "one", tmp_path / "data" / "two"]
    link(tmp_path / "data" / "zwei", tmp_path / "data" / "two")  # the same case again is one case
    assert [case.case_id for case in find_cases(tmp_path / "data")] == ["one", "two"]


def test_folders_of_runs_that_did_not_end_and_results_are_passed_over(tmp_path):
    for name in ("a", ".a.123.tmp", ".hidden/b", "results/a", "results/deep/c"):
        write_case(tmp_path / name, Path(name).name)
    assert case_folders(tmp_path, exclude=tmp_path / "results") == [tmp_path / "a"]
    assert case_folders(tmp_path, exclude=tmp_path / "x" / ".." / "results") == [tmp_path / "a"]
    assert case_folders(tmp_path, exclude=tmp_path / "none") == case_folders(tmp_path)
    found = [tmp_path / name for name in ("a", "results/a", "results/deep/c")]
    assert case_folders(tmp_path) == found


def test_a_folder_beside_the_case_given_is_not_looked_into(tmp_path):
    """`folder` is a case itself; hidden or not, it is what the user named."""
    write_case(tmp_path / ".mine", "mine")
    write_case(tmp_path / ".mine" / "more", "more")
    assert case_folders(tmp_path / ".mine") == [tmp_path / ".mine"]


def test_a_locked_case_folder_is_a_case_that_fails(tmp_path, monkeypatch):
    for name in ("a", "b"):
        write_case(tmp_path / "data" / name, name)

    def iterdir(path):
        if path.name in ("b", "locked"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return unlocked(path)

    unlocked = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert case_folders(tmp_path / "data") == [tmp_path / "data" / "a", tmp_path / "data" / "b"]
    code, message = fault(find_case, tmp_path / "data" / "b")
    assert code == "unreadable-file"
    assert "Permission denied" in message
    assert fault(case_folders, tmp_path / "locked")[0] == "unreadable-file"


def test_four_paths_make_a_case(tmp_path):
    folder = write_case(tmp_path / "a")
    paths = {modality: folder / f"case_{modality}.nii.gz" for modality in MODALITIES}
    case = case_from_paths(**paths)
    assert (case.case_id, case.paths, case.segmentation) == ("case", paths, None)
    assert case_from_paths(**paths, case_id="mine").case_id == "mine"


# ---------------------------------------------------------------- bad folders


def test_missing_modality_is_named(tmp_path):
    folder = write_case(tmp_path / "a")
    (folder / "case_t1ce.nii.gz").unlink()
    code, message = fault(find_case, folder)
    assert code == "missing-modality"
    assert "no t1ce image (found: flair, seg, t1, t2)" in message


def test_two_files_for_one_modality(tmp_path):
    folder = write_case(tmp_path / "a")
    shutil.copy(folder / "case_t2.nii.gz", folder / "case-t2w.nii.gz")
    code, message = fault(find_case, folder)
    assert code == "two-files"
    assert "case_t2.nii.gz" in message
    assert "case-t2w.nii.gz" in message


def test_the_same_file_twice(tmp_path):
    folder = write_case(tmp_path / "a")
    paths = {modality: folder / f"case_{modality}.nii.gz" for modality in MODALITIES}
    paths["t2"] = folder / ".." / "a" / "case_t1.nii.gz"
    assert fault(case_from_paths, **paths)[0] == "same-file-twice"


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_a_copy_under_another_name_or_format_is_the_same_file_twice(tmp_path, suffix):
    folder = write_case(tmp_path / "a")
    (folder / "case_t2.nii.gz").unlink()
    write_volume(folder / f"case_t2{suffix}", Volume(head(0), np.eye(4)))
    code, message = fault(load, folder)
    assert code == "same-file-twice"
    assert "case_t1.nii.gz" in message
    assert f"case_t2{suffix}" in message


def test_folders_that_are_missing_or_hold_no_case(tmp_path):
    assert fault(find_case, tmp_path / "none")[0] == "missing-file"
    assert fault(case_folders, tmp_path / "none")[0] == "missing-file"
    assert fault(case_folders, tmp_path)[0] == "no-case"
    assert fault(case_from_paths, *["nowhere.nii"] * 4)[0] == "missing-file"


def test_two_cases_of_one_name(tmp_path):
    write_case(tmp_path / "a", "x")
    write_case(tmp_path / "b", "x")
    assert fault(find_cases, tmp_path)[0] == "same-case-twice"


# ---------------------------------------------------------------- bad images


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_image_is_refused(tmp_path, value):
    folder = write_case(tmp_path / "a")
    write_volume(folder / "case_t2.nii.gz", Volume(np.full((8, 10, 12), value, "f4"), np.eye(4)))
    code, message = fault(load, folder)
    assert code == "constant-image"
    assert f"case_t2.nii.gz has the value {value}" in message


def test_an_unreadable_image_stops_the_case(tmp_path):
    folder = write_case(tmp_path / "a")
    path = folder / "case_flair.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    assert fault(load, folder)[0] == "truncated-file"


def test_grids_that_differ_are_resampled_and_said(tmp_path):
    """A blob at one RAS place, seen on a flipped, shifted and finer grid, lands where the reference has it."""
    folder = write_case(tmp_path / "a")
    affine = np.diag([-0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = (14, -3, -2)
    array = np.zeros((30, 34, 36), dtype=np.float32)
    i, j, k = np.rint(np.linalg.inv(affine) @ (6, 5, 3, 1))[:3].astype(int)
    array[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2] = 100
    write_volume(folder / "case_t2.nii.gz", Volume(array, affine))
    loaded, said = load(folder)
    assert np.unravel_index(loaded.images[2].argmax(), loaded.images[2].shape) == (3, 5, 6)
    assert len(said) == 1
    assert "case_t2.nii.gz" in said[0]
    assert "not registered" in said[0]
    np.testing.assert_array_equal(loaded.images[0], head(0))


def test_another_reference_gives_its_grid(tmp_path):
    folder = write_case(tmp_path / "a")
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    write_volume(folder / "case_t2.nii.gz", Volume(head(2, (6, 6, 6)), affine))
    loaded, said = load(folder, reference="t2")
    assert loaded.images.shape == (4, 6, 6, 6)
    assert loaded.label.shape == (6, 6, 6)
    assert set(np.unique(loaded.label)) <= {0, 2, 4}
    np.testing.assert_array_equal(loaded.reference.affine, affine)
    assert len(said) == 4


def test_grids_that_do_not_overlap_are_refused(tmp_path):
    folder = write_case(tmp_path / "a")
    far = np.eye(4)
    far[:3, 3] = 300
    write_volume(folder / "case_t2.nii.gz", Volume(head(2), far))
    code, message = fault(load, folder)
    assert code == "no-overlap"
    assert "case_t2.nii.gz" in message


def test_a_brain_beside_the_reference_is_refused(tmp_path):
    """The grids overlap, but only where the image is empty."""
    folder = write_case(tmp_path / "a")
    beside = np.eye(4)
    beside[0, 3] = 10.5
    write_volume(folder / "case_t2.nii.gz", Volume(head(2), beside))
    code, message = fault(load, folder)
    assert code == "constant-image"
    assert "where the t1ce image is" in message


def test_a_head_with_its_skull_is_warned_of(tmp_path):
    """40 x 60 x 50 of 50 x 60 x 50 voxels of 27 mm^3: 80 %, 3240 ml of head."""
    folder = tmp_path / "a"
    for seed, modality in enumerate(MODALITIES):
        array = np.zeros((50, 60, 50), dtype=np.float32)
        array[:40, :, :] = np.random.default_rng(seed).uniform(1, 9, (40, 60, 50))
        folder.mkdir(exist_ok=True)
        write_volume(folder / f"x_{modality}.nii.gz", Volume(array, np.diag([3.0, 3.0, 3.0, 1.0])))
    _, said = load(folder)
    assert len(said) == 1
    assert "80% of its voxels, 3240 ml" in said[0]


def test_negative_intensities_are_warned_of(tmp_path):
    folder = write_case(tmp_path / "a")
    write_volume(folder / "case_t2.nii.gz", Volume(head(2) - 20, np.eye(4)))
    assert "negative intensities in t2" in load(folder)[1][0]


def test_an_unknown_label_is_refused(tmp_path):
    folder = write_case(tmp_path / "a", enhancing=9)
    assert fault(load, folder)[0] == "unknown-label"


def test_warnings_are_not_silent_by_default(tmp_path):
    folder = write_case(tmp_path / "a")
    write_volume(folder / "case_t2.nii.gz", Volume(head(2), np.diag([1.0, 1.0, 1.1, 1.0])))
    with pytest.warns(UserWarning, match="resampled"):
        load_case(find_case(folder))


def test_a_dicom_folder_per_modality(tmp_path):
    """Folders named like the files, each with one series."""
    for seed, modality in enumerate(MODALITIES):
        folder = tmp_path / "Patient 1" / modality.upper()
        folder.mkdir(parents=True)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for k, plane in enumerate(head(seed).astype("i2")):
            image = sitk.GetImageFromArray(plane[None])
            tags = ("0020|000e", f"1.2.{seed}"), ("0008|0018", f"1.2.{seed}.{k}"), ("0020|0032", f"0\\0\\{k}")
            for tag, value in (*tags, ("0020|0037", "1\\0\\0\\0\\1\\0")):
                image.SetMetaData(tag, value)
            writer.SetFileName(str(folder / f"{k}.dcm"))
            writer.Execute(image)
    loaded, said = load(tmp_path / "Patient 1")
    assert loaded.case.case_id == "Patient 1"
    np.testing.assert_array_equal(loaded.images, [head(seed).astype("i2") for seed in range(4)])
    assert said == []


# ---------------------------------------------------------------- splits


def test_a_split_survives_the_file(tmp_path):
    split = {"train": ["a", "ä b"], "validation": ["c"], "test": []}
    write_split(tmp_path / "split.json", split)
    assert read_split(tmp_path / "split.json") == split
    assert json.loads((tmp_path / "split.json").read_text(encoding="utf-8")) == split


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"train": "a"}', '{"train": [1]}', '{"train": 1}', "{", "\xff", "null", '{"a": {"b": 1}}']
)
def test_what_is_no_split_is_refused(tmp_path, text):
    (tmp_path / "split.json").write_text(text, encoding="latin-1")
    assert fault(read_split, tmp_path / "split.json")[0] == "bad-split"


def test_a_case_in_two_parts_is_refused(tmp_path):
    write_split(tmp_path / "split.json", {"train": ["a"], "test": ["a"]})
    assert "a under train and again under test" in fault(read_split, tmp_path / "split.json")[1]
    assert fault(read_split, tmp_path / "none.json")[0] == "missing-file"


# ---------------------------------------------------------------- real cases


@pytest.mark.parametrize(
    ("folder", "labels"),
    [
        ("original/BraTS20_Training_002", [0, 1, 2, 4]),
        ("original/BraTS-GLI-00000-000", [0, 1, 2, 4]),
        ("unlabelled/TCGA-DU-7294", None),
        ("native_space/TCGA-DU-7294", None),
    ],
)
def test_real_cases_load(real_cases, folder, labels):
    loaded, said = load(real_cases / folder)
    assert loaded.case.case_id == os.path.basename(folder)
    assert (loaded.label is None) if labels is None else (np.unique(loaded.label).tolist() == labels)
    assert len(said) == (3 if folder.startswith("native") else 0)
    brain_ml = (loaded.images != 0).any(0).sum() * np.prod(loaded.reference.spacing_mm) / 1000
    assert 1100 < brain_ml < 1700
