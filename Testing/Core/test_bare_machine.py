"""Bare machine: with torch and NumPy alone, cases are read, prepared and blurred as ever; the rest is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import ABSENT, AFFINE, bare_environment, tiny_patient, write_case

from DABSegCore.cases import find_case, load_case
from DABSegCore.errors import InputError
from DABSegCore.figure import case_panel
from DABSegCore.metrics import dice, psnr, ssim
from DABSegCore.motion import corrupt_case
from DABSegCore.phantom import virtual_patient
from DABSegCore.preprocess import prepare
from DABSegCore.volume import Volume, read_volume, resample, write_png, write_volume

REFUSALS = {  # what is tried: who is absent, and how the sentence begins
    "virtual": ("scipy", "making virtual patients"),
    "ssim": ("scipy", "SSIM"),
    "figure": ("scipy", "drawing a figure"),
    "read": ("SimpleITK", "reading"),
    "write": ("SimpleITK", "writing"),
    "dicom": ("SimpleITK", "reading"),
    "resample": ("SimpleITK", "resampling an image onto another grid"),
    "prepare": ("SimpleITK", "resampling an image onto another grid"),
}
FILES = {"read": "a.nrrd", "write": "b.mha", "dicom": "."}


def work(folder: Path) -> dict[str, np.ndarray]:
    """What training does with a case, as arrays by name."""
    loaded = load_case(find_case(folder / "case"))
    prepared = prepare(loaded.images, loaded.reference.affine)
    label = prepared.to_working(loaded.label[None], "nearest")[0]
    sharp = torch.from_numpy(prepared.image)
    blurred, motion = corrupt_case(sharp, (1.0, 1.0, 1.0), 3, "a")
    shaw, _ = corrupt_case(sharp, (1.0, 1.0, 1.0), 1, "a", preset="shaw")
    write_volume(folder / "back.nii.gz", Volume(blurred[0].numpy(), prepared.affine))
    back = read_volume(folder / "back.nii.gz")
    write_png(folder / "a.png", np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3))
    return {
        "image": prepared.image,
        "label": label,
        "blurred": blurred.numpy(),
        "rotation_deg": np.concatenate([np.array(one.rotation_deg) for one in motion]),
        "shift_mm": np.array([one.shift_mm for one in motion]),
        "shaw": shaw.numpy(),
        "back": back.array,
        "affine": back.affine,
        "scores": np.array([psnr(back.array, prepared.image[0], prepared.brain), dice(label > 0, label > 1)]),
    }


def attempts(folder: Path) -> dict[str, Callable[[], object]]:
    """One call for each of `REFUSALS`."""
    cube = np.random.default_rng(0).random((24, 24, 24), np.float32)
    volume = Volume(cube, np.eye(4))
    images = np.stack([cube] * 4)
    return {
        "virtual": lambda: virtual_patient(3, shape=(32, 48, 40), spacing_mm=5.0),
        "ssim": lambda: ssim(cube, cube),
        "figure": lambda: case_panel({"sharp": images}),
        "read": lambda: read_volume(folder / FILES["read"]),
        "write": lambda: write_volume(folder / FILES["write"], volume),
        "dicom": lambda: read_volume(folder),
        "resample": lambda: resample(volume, volume),
        "prepare": lambda: prepare(images, np.diag([2.0, 2.0, 2.0, 1.0])),
    }


def answers(folder: Path) -> dict[str, list[str]]:
    """Code and sentence of the error that each attempt ends in, if it does."""
    found = {}
    for name, attempt in attempts(folder).items():
        try:
            attempt()
        except InputError as error:
            found[name] = [error.code, str(error)]
    return found


@pytest.fixture(scope="module")
def a_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a case, an NRRD file, and what a bare machine made of them."""
    folder = tmp_path_factory.mktemp("work")
    images, label = tiny_patient()
    write_case(folder / "case", "a", images, label, AFFINE)
    write_volume(folder / "a.nrrd", Volume(images[0], AFFINE))
    environment = bare_environment(tmp_path_factory.mktemp("site"))
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_numbers_are_those_of_a_full_machine(a_folder):
    expected = work(a_folder)
    with np.load(a_folder / "bare.npz") as found:
        assert set(found) == set(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5, err_msg=name)
    assert np.abs(expected["blurred"] - expected["image"]).max() > 0.1  # it did move


@pytest.mark.parametrize("name", REFUSALS)
def test_what_needs_more_is_refused_in_one_sentence(a_folder, name):
    package, start = REFUSALS[name]
    code, sentence = json.loads((a_folder / "bare.json").read_text(encoding="utf-8"))[name]
    assert code == "missing-package"
    what = f"{start} {a_folder / FILES[name]}" if name in FILES else start
    assert sentence == f"{what} needs the package {package}, which is not installed; run: pip install {package}"
    assert not (a_folder / "b.mha").exists()


def test_a_full_machine_refuses_none_of_it(a_folder, tmp_path):
    (tmp_path / "a.nrrd").write_bytes((a_folder / "a.nrrd").read_bytes())
    assert {name: code for name, (code, _) in answers(tmp_path).items()} == {"dicom": "not-one-series"}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    np.savez(place / "bare.npz", **work(place))
    (place / "bare.json").write_text(json.dumps(answers(place)), encoding="utf-8")
    assert not set(ABSENT) & set(sys.modules)
