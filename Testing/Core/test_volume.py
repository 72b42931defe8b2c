"""Volumes: geometry and voxels against nibabel, every fault one sentence, and files written whole or not at all."""

import contextlib
import errno
import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from DABSegCore import nifti
from DABSegCore.errors import InputError
from DABSegCore.files import check_exists, list_folder
from DABSegCore.volume import (
    Volume,
    overlap,
    read_labels,
    read_volume,
    resample,
    same_grid,
    sha256,
    write_png,
    write_volume,
)


def an_affine(angles_deg=(0, 0, 0), spacing=(1, 1, 1), origin=(0, 0, 0), left_handed=False):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    if left_handed:
        affine[:3, 0] *= -1
    return affine


AFFINES = {
    "brats": np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    "las": an_affine(spacing=(-0.469, 0.469, 2.5), origin=(120, -124, -72)),
    "oblique": an_affine((20, -13, 35), (0.9, 1.1, 5), (-80, 33, 12.5)),
    "left-handed": an_affine((20, -13, 35), (0.9, 1.1, 5), (-80, 33, 12.5), left_handed=True),
    "nearly-half-turn": an_affine((179.9, 0.01, 0.02), (1, 1, 1.2), (7, 8, 9)),
    "nearly-half-turn-left": an_affine((3, 5, 179), (1, 2, 1.2), (7, 8, 9), left_handed=True),
}


def voxels(shape=(4, 5, 6), dtype="f4", seed=0):
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


def itk_affine(path):
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def fault(function, *args):
    with pytest.raises(InputError) as caught:
        function(*args)
    message = str(caught.value)
    assert "\n" not in message
    assert not message.endswith(".")
    return caught.value.code, message


# ---------------------------------------------------------------- reading, with nibabel as the truth


@pytest.mark.parametrize("forms", ["both", "sform", "qform", "conflict"])
@pytest.mark.parametrize("name", AFFINES)
def test_read_places_voxels_where_nibabel_does(tmp_path, name, forms):
    image = nib.Nifti1Image(voxels((6, 5, 4)), AFFINES[name])
    image.set_qform(
        None if forms == "sform" else np.eye(4) if forms == "conflict" else AFFINES[name], int(forms != "sform")
    )
    image.set_sform(None if forms == "qform" else AFFINES[name], int(forms != "qform"))
    nib.save(image, tmp_path / "a.nii.gz")
    truth = nib.load(tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.affine, truth.affine, atol=1e-6)
    np.testing.assert_allclose(volume.affine, AFFINES[name], atol=2e-3 if forms == "qform" else 1e-5)
    np.testing.assert_array_equal(volume.array, truth.get_fdata().T)
    assert volume.array.dtype == np.float32
    assert volume.array.flags.writeable


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", ">i2", ">f4"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_read_gives_the_values_nibabel_gives(tmp_path, kind, dtype):
    header = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    nib.save(kind(voxels((6, 5, 4), dtype), AFFINES["oblique"], header), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    np.testing.assert_array_equal(volume.array, voxels((6, 5, 4)).T)
    np.testing.assert_allclose(volume.affine, nib.load(tmp_path / "a.nii").affine, atol=1e-6)


def test_read_applies_the_scaling_of_the_header(tmp_path):
    image = nib.Nifti1Image(voxels((6, 5, 4), "i2"), np.eye(4))
    image.header.set_slope_inter(0.25, -3)
    nib.save(image, tmp_path / "a.nii.gz")
    stored = nib.load(tmp_path / "a.nii.gz")
    assert stored.dataobj.slope == 0.25
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").array, stored.get_fdata().T, atol=1e-6)


def test_read_in_metres_gives_millimetres(tmp_path):
    image = nib.Nifti1Image(voxels(), np.diag([0.001, 0.001, 0.002, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").spacing_mm == pytest.approx((1, 1, 2))


@pytest.mark.parametrize(
    "case", ["original/BraTS20_Training_002", "original/BraTS-GLI-00000-000", "native_space/TCGA-DU-7294"]
)
def test_read_of_real_cases_agrees_with_nibabel(real_cases, case):
    for path in sorted((real_cases / case).iterdir()):
        truth, volume = nib.load(path), read_volume(path)
        np.testing.assert_allclose(volume.affine, truth.affine, atol=1e-6)
        np.testing.assert_array_equal(volume.array, np.asarray(truth.dataobj, dtype=np.float32).T)


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("name", AFFINES)
def test_write_then_read_gives_the_same_volume(tmp_path, name, suffix):
    path = tmp_path / f"Größe und Tümör 脑{suffix}"
    write_volume(path, Volume(voxels(), AFFINES[name]))
    back = read_volume(path)
    np.testing.assert_array_equal(back.array, voxels())
    np.testing.assert_allclose(back.affine, AFFINES[name], atol=1e-5)
    np.testing.assert_allclose(itk_affine(path), AFFINES[name], atol=1e-5)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", AFFINES)
def test_written_nifti_holds_both_forms_and_nibabel_reads_them(tmp_path, name):
    write_volume(tmp_path / "a.nii.gz", Volume(voxels(dtype="u1"), AFFINES[name]))
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.get_sform(coded=True)[0], AFFINES[name], atol=1e-5)
    np.testing.assert_allclose(image.get_qform(coded=True)[0], AFFINES[name], atol=2e-3)
    np.testing.assert_array_equal(image.get_fdata().T, voxels())


def test_geometry_read_from_a_file_is_written_unchanged(tmp_path):
    nib.save(nib.Nifti1Image(voxels(), AFFINES["oblique"]), tmp_path / "a.nii.gz")
    write_volume(tmp_path / "b.nii.gz", read_volume(tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii.gz").affine, nib.load(tmp_path / "a.nii.gz").affine)


@pytest.mark.parametrize(
    ("sform", "qform", "expected"), [(4, 4, 4), (1, 1, 1), (2, 0, 2), (0, 3, 3), (4, 1, 4), (0, 0, 1), (77, 0, 1)]
)
def test_the_space_of_the_header_is_kept(tmp_path, sform, qform, expected):
    """Scanner, aligned, Talairach or MNI; a code no standard knows is written as scanner."""
    write_volume(tmp_path / "a.nii", Volume(voxels(), AFFINES["oblique"]))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<2h", data, 252, qform, sform)
    (tmp_path / "a.nii").write_bytes(data)
    volume = read_volume(tmp_path / "a.nii")
    for name, kept in (("b", volume.with_array(voxels(seed=1))), ("c", resample(volume, volume, "nearest"))):
        write_volume(tmp_path / f"{name}.nii.gz", kept)
        header = nib.load(tmp_path / f"{name}.nii.gz").header
        assert (header["sform_code"], header["qform_code"]) == (expected, expected)


def test_equal_volumes_give_equal_bytes_and_masks_are_written_as_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, Volume(voxels() > 50, np.eye(4)))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, voxels() > 50)


def test_png_reads_back_with_another_reader(tmp_path):
    rgb = voxels((7, 5, 3), "u1")
    write_png(tmp_path / "a.png", rgb)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.png"))), rgb)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, "disk-full"), (errno.EACCES, "not-writable"), (errno.EROFS, "not-writable")],
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, number, expected):
    write_volume(tmp_path / "a.nii.gz", Volume(voxels(), np.eye(4)))
    before = (tmp_path / "a.nii.gz").read_bytes()

    def failing(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", failing)
    code, message = fault(write_volume, tmp_path / "a.nii.gz", Volume(voxels(seed=1), np.eye(4)))
    assert code == expected
    assert "a.nii.gz" in message
    assert (tmp_path / "a.nii.gz").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


FULL_DISK = """
import resource, sys
import numpy as np
from DABSegCore.errors import InputError
from DABSegCore.volume import Volume, write_volume
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_volume(sys.argv[1], Volume(np.random.default_rng(0).random((20, 20, 20)).astype("f4"), np.eye(4)))
except InputError as error:
    print(error.code, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file-size limit on Windows")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_disk_that_fills_up_is_told_and_leaves_nothing(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"(disk-full|not-writable) .*was not written", done.stdout), done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_or_locked_is_told(tmp_path):
    assert fault(write_volume, tmp_path / "none" / "a.nii.gz", Volume(voxels(), np.eye(4)))[0] == "no-folder"
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write anywhere")
    assert fault(write_volume, locked / "a.nii.gz", Volume(voxels(), np.eye(4)))[0] == "not-writable"


def test_a_name_of_no_image_format_is_refused_for_writing(tmp_path):
    assert fault(write_volume, tmp_path / "a.jpg", Volume(voxels(), np.eye(4)))[0] == "unknown-format"


# ---------------------------------------------------------------- bad input


def test_missing_and_unknown_files(tmp_path):
    assert fault(read_volume, tmp_path / "a.nii.gz")[0] == "missing-file"
    assert fault(read_volume, tmp_path / "a.nrrd")[0] == "missing-file"
    (tmp_path / "a.txt").write_text("hello")
    assert fault(read_volume, tmp_path / "a.txt")[0] == "unknown-format"
    (tmp_path / "b.nii").write_bytes(b"x" * 1000)
    assert fault(read_volume, tmp_path / "b.nii")[0] == "unreadable-file"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha"])
def test_a_file_one_may_not_read(tmp_path, name, monkeypatch):
    def locked(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    write_volume(tmp_path / name, Volume(voxels(), np.eye(4)))
    monkeypatch.setattr("builtins.open", locked)
    code, message = fault(read_volume, tmp_path / name)
    assert code == "unreadable-file"
    assert name in message


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.EIO, "I/O error")])
def test_a_folder_one_may_not_look_into(tmp_path, error, monkeypatch):
    def locked(_path):
        raise error

    (tmp_path / "t1").mkdir()
    monkeypatch.setattr(Path, "iterdir", locked)
    for function in (read_volume, sha256, list_folder):
        code, message = fault(function, tmp_path / "t1")
        assert code == "unreadable-file"
        assert error.strerror in message


def test_a_path_behind_a_locked_folder_is_not_told_as_missing(tmp_path, monkeypatch):
    def locked(_path, *_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    assert fault(check_exists, tmp_path / "a.nii")[0] == "missing-file"
    assert fault(check_exists, tmp_path / "a\0.nii")[0] == "unreadable-file"
    assert fault(read_volume, tmp_path / "a\0.nii")[0] == "unreadable-file"
    monkeypatch.setattr(os, "stat", locked)
    assert fault(check_exists, tmp_path / "a.nii")[0] == "unreadable-file"


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
def test_truncated_files_are_refused_never_half_read(tmp_path, name, share, capfd):
    write_volume(tmp_path / name, Volume(voxels((20, 20, 20)), np.eye(4)))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    code, message = fault(read_volume, tmp_path / name)
    assert code == "truncated-file"
    assert name in message
    assert "Traceback" not in capfd.readouterr().err


def test_a_flipped_bit_in_a_gzip_is_noticed(tmp_path):
    write_volume(tmp_path / "a.nii.gz", Volume(voxels((20, 20, 20)), np.eye(4)))
    data = bytearray((tmp_path / "a.nii.gz").read_bytes())
    for place in (len(data) // 2, -6):  # in the voxels, in the checksum
        bad = data.copy()
        bad[place] ^= 1
        (tmp_path / "b.nii.gz").write_bytes(bad)
        assert fault(read_volume, tmp_path / "b.nii.gz")[0] == "truncated-file"


@pytest.mark.parametrize(
    ("shape", "words"), [((8, 9), "2-D"), ((8, 9, 1), "2-D"), ((4, 5, 6, 2), "4-D (4 x 5 x 6 x 2)")]
)
def test_only_three_dimensions(tmp_path, shape, words):
    nib.save(nib.Nifti1Image(voxels(shape), np.eye(4)), tmp_path / "a.nii.gz")
    code, message = fault(read_volume, tmp_path / "a.nii.gz")
    assert code == "not-3d"
    assert words in message


def test_a_fourth_dimension_of_one_is_no_dimension(tmp_path):
    nib.save(nib.Nifti1Image(voxels((4, 5, 6, 1)), np.eye(4)), tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").shape == (6, 5, 4)
    sitk.WriteImage(sitk.GetImageFromArray(voxels((1, 4, 5, 6)), isVector=False), str(tmp_path / "b.mha"))
    assert read_volume(tmp_path / "b.mha").shape == (4, 5, 6)


@pytest.mark.parametrize("shape", [(1, 1, 4, 5, 6), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_five_dimensions_are_refused_even_of_one(tmp_path, name, shape):
    sitk.WriteImage(sitk.GetImageFromArray(voxels(shape), isVector=False), str(tmp_path / name))
    code, message = fault(read_volume, tmp_path / name)
    assert code == "not-3d"
    assert "5-D" in message


def test_colour_and_time_in_other_formats(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(voxels((4, 5, 6, 3)), isVector=True), str(tmp_path / "a.nrrd"))
    assert fault(read_volume, tmp_path / "a.nrrd")[0] == "not-3d"
    sitk.WriteImage(sitk.GetImageFromArray(voxels((2, 4, 5, 6)), isVector=False), str(tmp_path / "b.mha"))
    assert "4-D" in fault(read_volume, tmp_path / "b.mha")[1]
    colour = np.zeros((6, 5, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colour, np.eye(4)), tmp_path / "c.nii")
    assert fault(read_volume, tmp_path / "c.nii")[0] == "unreadable-file"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_voxels_must_be_finite(tmp_path, value):
    array = voxels(dtype="f8")
    array[1, 2, 3] = value
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    code, message = fault(read_volume, tmp_path / "a.nii.gz")
    assert code == "not-finite"
    assert "holds 1 voxels" in message


def test_shear_is_refused(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.1
    image = nib.Nifti1Image(voxels(), np.eye(4))
    image.set_sform(sheared, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    assert fault(read_volume, tmp_path / "a.nii.gz")[0] == "bad-geometry"


FIELDS = {  # name -> where it lies in a NIfTI-1 header, and its type
    "vox_offset": (108, "<f"),
    "pixdim": (80, "<f"),
    "quatern_b": (256, "<f"),
    "qoffset_x": (268, "<f"),
}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        *(("vox_offset", value, "truncated-file") for value in (np.nan, np.inf, -np.inf, -352.0, 0.0, 1e30, 1e6)),
        *(
            (field, value, "bad-geometry")
            for field in ("pixdim", "quatern_b", "qoffset_x")
            for value in (np.nan, np.inf)
        ),
        ("pixdim", 0.0, "bad-geometry"),
    ],
)
def test_numbers_of_a_header_that_cannot_be(tmp_path, field, value, expected):
    write_volume(tmp_path / "a.nii", Volume(voxels(), AFFINES["oblique"]))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<h", data, 254, 0)  # no sform, so that the quaternion counts
    place, kind = FIELDS[field]
    struct.pack_into(kind, data, place, value)
    (tmp_path / "a.nii").write_bytes(data)
    code, message = fault(read_volume, tmp_path / "a.nii")
    assert code == expected
    assert "a.nii" in message


@pytest.mark.parametrize("forms", ["sform", "qform", "none"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_no_header_bytes_break_the_reader(tmp_path, kind, forms):
    """One to four bytes of the header anything at all: a finite volume or one sentence, never another error."""
    image = kind(voxels((4, 3, 2)), AFFINES["oblique"])
    image.set_sform(AFFINES["oblique"], int(forms == "sform"))
    image.set_qform(AFFINES["oblique"], int(forms != "none"))
    nib.save(image, tmp_path / "a.nii")
    whole = (tmp_path / "a.nii").read_bytes()
    random = np.random.default_rng(5)
    for _ in range(200):
        data = bytearray(whole)
        for place in random.integers(0, 352 if kind is nib.Nifti1Image else 544, random.integers(1, 5)):
            data[place] = random.choice((0, 1, 127, 128, 255, random.integers(256)))
        (tmp_path / "a.nii").write_bytes(data)
        with contextlib.suppress(InputError):
            volume = read_volume(tmp_path / "a.nii")
            assert np.isfinite(volume.array).all()
            assert np.isfinite(volume.affine).all()


def test_a_gzip_that_grows_beyond_the_bound_is_refused(tmp_path, monkeypatch):
    """The bound here is 4000 bytes; 352 of header and 10 x 10 x 9 of 4 bytes are 3952, one plane more 4352."""
    monkeypatch.setattr(nifti, "LARGEST_BYTES", 4000)
    write_volume(tmp_path / "a.nii.gz", Volume(voxels((9, 10, 10)), np.eye(4)))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, voxels((9, 10, 10)))
    write_volume(tmp_path / "a.nii.gz", Volume(voxels((10, 10, 10)), np.eye(4)))
    assert fault(read_volume, tmp_path / "a.nii.gz")[0] == "too-large"


def test_a_gzip_of_several_members_is_read_whole(tmp_path):
    """As bgzip writes them."""
    write_volume(tmp_path / "a.nii", Volume(voxels(), np.eye(4)))
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data[:500]) + gzip.compress(data[500:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, voxels())
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data) + b"junk")
    assert fault(read_volume, tmp_path / "a.nii.gz")[0] == "truncated-file"


# ---------------------------------------------------------------- labels


def test_labels_of_both_conventions_stored_as_any_type(tmp_path):
    for dtype in ("u1", "f4", "i2"):
        nib.save(nib.Nifti1Image(np.arange(64).reshape(4, 4, 4).astype(dtype) % 4, np.eye(4)), tmp_path / "a.nii.gz")
        label = read_labels(tmp_path / "a.nii.gz")
        assert label.array.dtype == np.uint8
        assert np.unique(label.array).tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize("value", [5, -1, 0.5, 300])
def test_an_unknown_label_is_named_with_its_file(tmp_path, value):
    array = np.zeros((4, 4, 4), "f4")
    array[1, 1, 1] = value
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    code, message = fault(read_labels, tmp_path / "a.nii.gz")
    assert code == "unknown-label"
    assert f"value {value:g}" in message
    assert "a.nii.gz" in message


# ---------------------------------------------------------------- DICOM


def write_series(folder, array, uid="1.2.3.4", spacing=(0.8, 0.9, 2.0), origin=(10, -20, 30), skip=(), start=0):
    """A small DICOM series: axial slices along an oblique patient axis."""
    folder.mkdir(exist_ok=True)
    axes = Rotation.from_euler("xyz", (10, 5, -8), degrees=True).as_matrix()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(len(array)):
        if k in skip:
            continue
        image = sitk.GetImageFromArray(array[k : k + 1].astype("i2"))
        image.SetSpacing(spacing)
        place = np.array(origin) + axes[:, 2] * spacing[2] * k
        tags = {
            "0008|0060": "MR",
            "0008|0018": f"{uid}.{k + 1}",
            "0020|000e": uid,
            "0020|000d": "1.2.3",
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{x:.6f}" for x in place),
            "0020|0037": "\\".join(f"{x:.6f}" for x in axes[:, :2].T.ravel()),
            "0018|0050": str(spacing[2]),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{start + len(array) - k:03d}.dcm"))  # names in reverse order
        writer.Execute(image)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = origin
    return np.diag([-1, -1, 1, 1]) @ affine


def test_a_dicom_series_is_read_in_order_of_place(tmp_path):
    affine = write_series(tmp_path / "Serie ü", voxels((5, 6, 7)))
    volume = read_volume(tmp_path / "Serie ü")
    np.testing.assert_array_equal(volume.array, voxels((5, 6, 7)))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)


def test_a_folder_with_two_series_or_none_is_refused(tmp_path):
    write_series(tmp_path / "a", voxels((3, 6, 7)))
    write_series(tmp_path / "a", voxels((3, 6, 7)), uid="1.2.3.5", start=10)
    code, message = fault(read_volume, tmp_path / "a")
    assert code == "not-one-series"
    assert "1.2.3.4" in message
    assert "1.2.3.5" in message
    (tmp_path / "empty").mkdir()
    assert "holds 0 DICOM series" in fault(read_volume, tmp_path / "empty")[1]


def test_a_locked_slice_is_told_not_passed_over(tmp_path, monkeypatch):
    write_series(tmp_path / "a", voxels((5, 6, 7)))

    def locked(path, *args, **kwargs):
        if Path(path).name == "005.dcm":
            raise PermissionError(errno.EACCES, "Permission denied")
        return io_open(path, *args, **kwargs)

    io_open = open
    monkeypatch.setattr("builtins.open", locked)
    code, message = fault(read_volume, tmp_path / "a")
    assert code == "unreadable-file"
    assert "005.dcm" in message


def test_a_series_with_a_missing_slice_is_refused(tmp_path):
    write_series(tmp_path / "a", voxels((6, 6, 7)), skip=(2,))
    assert fault(read_volume, tmp_path / "a")[0] == "uneven-slices"


# ---------------------------------------------------------------- grids and digests


def test_digest_of_a_file_and_of_a_folder(tmp_path):
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    one, two = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))
    assert sha256(tmp_path / "a") == one
    assert sha256(tmp_path) == hashlib.sha256((one + two).encode()).hexdigest()


def test_digest_of_a_header_covers_the_file_with_its_voxels(tmp_path):
    image = sitk.GetImageFromArray(voxels())
    sitk.WriteImage(image, str(tmp_path / "a.mhd"))  # voxels in a.raw
    sitk.WriteImage(image, str(tmp_path / "whole.mha"))
    sitk.WriteImage(image, str(tmp_path / "whole.nrrd"))
    for name in ("whole.mha", "whole.nrrd"):
        assert sha256(tmp_path / name) == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    head = "NRRD0004\r\ntype: float\r\ndimension: 3\r\nsizes: 6 5 4\r\nencoding: raw\r\nendian: little\r\n"
    (tmp_path / "b.nrrd").write_bytes(f"{head}data file: a.raw\r\n".encode())
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nrrd").array, voxels())
    before = [sha256(tmp_path / name) for name in ("a.mhd", "b.nrrd")]
    data = bytearray((tmp_path / "a.raw").read_bytes())
    data[7] ^= 1
    (tmp_path / "a.raw").write_bytes(data)
    after = [sha256(tmp_path / name) for name in ("a.mhd", "b.nrrd")]
    assert all(a != b for a, b in zip(before, after, strict=True))
    digests = (hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.mhd", "a.raw"))
    assert after[0] == hashlib.sha256("".join(digests).encode()).hexdigest()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.mhd", "ElementDataFile = LIST"),
        ("a.mhd", "ElementDataFile = a%03d.raw 1 4 1"),
        ("a.nrrd", "data file: LIST"),
    ],
)
def test_a_header_of_many_files_is_refused(tmp_path, name, line):
    (tmp_path / name).write_text(f"NDims = 3\n{line}\n")
    assert fault(sha256, tmp_path / name)[0] == "unreadable-file"


def test_same_grid_allows_one_percent_of_a_voxel():
    a = Volume(voxels(), AFFINES["oblique"])
    moved = AFFINES["oblique"].copy()
    moved[0, 3] += 0.005
    assert same_grid(a, Volume(voxels(seed=1), moved))
    moved[0, 3] += 0.01
    assert not same_grid(a, Volume(voxels(), moved))
    assert not same_grid(a, Volume(voxels((4, 5, 7)), AFFINES["oblique"]))


def test_overlap_counts_the_share_of_the_reference():
    reference = Volume(voxels((10, 10, 10)), np.eye(4))
    assert overlap(reference, reference) == 1
    half = an_affine(origin=(0, 0, 5))
    assert overlap(Volume(voxels((10, 10, 10)), half), reference) == pytest.approx(0.5, abs=0.04)
    assert overlap(Volume(voxels((10, 10, 10)), an_affine(origin=(0, 50, 0))), reference) == 0


def test_resample_keeps_a_ramp_in_space():
    """Linear interpolation is exact on a ramp, so every covered voxel must show its own RAS coordinates."""
    i, j, k = np.meshgrid(*(np.arange(n) for n in (30, 28, 12)), indexing="ij")
    affine = AFFINES["left-handed"]
    ras = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    weights = np.array([1, 2, 3])
    source = Volume((ras @ weights).T.astype("f4"), affine)
    centre = affine[:3, :3] @ (14, 13, 6) + affine[:3, 3]
    target = an_affine((5, 50, -9), (1.3, 1, 0.7))
    target[:3, 3] = centre - target[:3, :3] @ (3, 3, 3)
    out = resample(source, Volume(np.zeros((7, 7, 7)), target))
    i, j, k = np.meshgrid(*(np.arange(7),) * 3, indexing="ij")
    ras = np.stack([i, j, k], axis=-1) @ target[:3, :3].T + target[:3, 3]
    np.testing.assert_allclose(out.array, (ras @ weights).T, atol=1e-2)
    np.testing.assert_array_equal(out.affine, target)


def test_resample_nearest_only_gives_values_that_were_there():
    source = Volume(voxels((8, 8, 8), "u1"), np.eye(4))
    out = resample(source, Volume(np.zeros((16, 16, 16)), an_affine(spacing=(0.5, 0.5, 0.5))), "nearest")
    assert out.array.dtype == np.uint8
    np.testing.assert_array_equal(out.array[::2, ::2, ::2], source.array)
    assert np.isin(out.array, source.array).all()
    mask = resample(source.with_array(source.array > 50), Volume(np.zeros((8, 8, 8)), np.eye(4)), "nearest")
    np.testing.assert_array_equal(mask.array, source.array > 50)


def test_resample_refuses_grids_apart():
    a = Volume(voxels(), np.eye(4))
    assert fault(resample, a, Volume(voxels(), an_affine(origin=(500, 0, 0))))[0] == "no-overlap"


def test_a_plain_file_named_gz_and_a_gzip_named_plain_are_read(tmp_path):
    nib.save(nib.Nifti1Image(voxels((6, 5, 4)), np.eye(4)), tmp_path / "a.nii")
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(data)
    (tmp_path / "c.nii").write_bytes(gzip.compress(data))
    for name in ("b.nii.gz", "c.nii"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, voxels((6, 5, 4)).T)
