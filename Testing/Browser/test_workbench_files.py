"""Files: what is uploaded is read or refused in a sentence, and what is downloaded is whole and tells no path."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slicer
from workbench_user import a_case, a_workbench, finish, mask, names, tiny_patient, tiny_weights

from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.volume import Volume, read_labels, read_volume, write_volume
from DABSegExtension.browser import opening
from DABSegExtension.browser.workbench import Workbench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    folder = tmp_path_factory.mktemp("files")
    weights = tiny_weights(folder / "tiny.pt")
    bench = a_workbench(folder / "session", {"Ann": a_case(folder / "cases")}, weights=weights)
    yield bench
    bench.close()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Four files as the gateway stores uploads."""
    a_case(tmp_path, "Eve")
    folder = tmp_path / "in"
    folder.mkdir()
    return {m: (tmp_path / "Eve" / f"Eve_{m}.nii.gz").rename(folder / f"{m}.nii.gz") for m in MODALITIES}


def opened(bench: Workbench, files: dict[str, Path]) -> str:
    """Upload; what was told."""
    bench.open_upload(files)
    finish(bench)
    return bench.snapshot().fault


def test_four_files_are_a_case_without_a_link(bench: Workbench, files: dict[str, Path]) -> None:
    assert opened(bench, files) == ""
    snapshot = bench.snapshot()
    assert (snapshot.title, snapshot.source, snapshot.has_truth) == ("Uploaded case", "upload", False)
    assert (snapshot.link, snapshot.why_no_link[:25]) == (None, "An uploaded case has no l")
    node = bench.rows()["sharp"]["t2"]
    assert np.array_equal(slicer.util.arrayFromVolume(node), tiny_patient(3)[0][2])


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_other_formats_are_read_as_well(bench: Workbench, files: dict[str, Path], suffix: str) -> None:
    other = files["flair"].parent / f"flair{suffix}"
    write_volume(other, read_volume(files["flair"]))
    assert opened(bench, {**files, "flair": other}) == ""
    node = bench.rows()["sharp"]["flair"]
    assert np.array_equal(slicer.util.arrayFromVolume(node), tiny_patient(3)[0][3])


def test_a_file_that_ends_too_early_is_refused(bench: Workbench, files: dict[str, Path]) -> None:
    files["t1"].write_bytes(files["t1"].read_bytes()[:20000])
    before = names(bench.rows())
    fault = opened(bench, files)
    assert fault.startswith('"T1 file" cannot be unpacked')
    assert names(bench.rows()) == before, "what was open stays"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_what_is_no_image_is_refused(bench: Workbench, files: dict[str, Path], suffix: str) -> None:
    bad = files["t2"].parent / f"bad{suffix}"
    bad.write_bytes(b"NRRD0004\n" + b"no image at all\n" * 100)
    fault = opened(bench, {**files, "t2": bad})
    assert fault.startswith('"T2 file" ')
    assert str(bad.parent) not in fault


NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n"
META = "ObjectType = Image\nNDims = 3\nElementSpacing = 1 1 1\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("t2.nrrd", NRRD + "data file: {other}\n\n"),
        ("t2.nrrd", NRRD + "content: x\rDATA FILE: {other}\n\n"),
        ("t2.nrrd", NRRD + "datafile: {other}\n\n"),
        ("t2.mha", META + "ElementDataFile = {other}\n"),
        ("t2.mha", META + "ElementDataFile : {other}\nElementDataFile = LOCAL\n"),
    ],
)
def test_a_header_that_leads_to_another_file_is_refused(
    bench: Workbench, files: dict[str, Path], tmp_path: Path, name: str, header: str
) -> None:
    secret, path = tmp_path / "secret.bin", tmp_path / name
    secret.write_bytes(bytes(range(64)))
    path.write_bytes(header.format(other=secret).encode() + bytes(64))
    assert read_volume(path).array.max() == 63, "this is what is to be kept from strangers"
    fault = opened(bench, {**files, "t2": path})
    assert fault.startswith('"T2 file" does not say that its voxels are within it')


def test_a_header_that_promises_too_much_is_refused(
    bench: Workbench, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MOST_VOXELS", 32 * 48 * 40 - 1)
    assert '"T1 file" has 32 x 48 x 40 voxels, but at most 61,439 are taken' in opened(bench, files)
    nrrd = {m: path.with_name(f"{m}.nrrd") for m, path in files.items()}
    for m in MODALITIES:
        write_volume(nrrd[m], read_volume(files[m]))
    assert "are taken here" in opened(bench, nrrd)


def test_many_channels_are_many_voxels(tmp_path: Path) -> None:
    path = tmp_path / "t1.mha"
    write_volume(path, Volume(np.zeros((4, 4, 4), np.int16), np.eye(4)))
    path.write_bytes(path.read_bytes().replace(b"ElementType", b"ElementNumberOfChannels = 9999999\nElementType"))
    with pytest.raises(InputError) as told:
        opening._check_voxels(opening._size_by_itk(path), path)
    assert told.value.code == "too-large"


def test_a_packed_file_is_unpacked_no_further_than_its_header_says(tmp_path: Path, files: dict[str, Path]) -> None:
    data = gzip.decompress(files["t1"].read_bytes())
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(data + bytes(50_000_000), 1))
    opening._unpacked(bomb, tmp_path / "out.nii")
    assert (tmp_path / "out.nii").read_bytes() == data


def test_three_files_are_no_case(bench: Workbench, files: dict[str, Path]) -> None:
    del files["t1ce"], files["t2"]
    assert "lacks T1ce, T2, but" in opened(bench, files)


def test_an_image_without_contrast_is_shown_but_not_run(bench: Workbench, files: dict[str, Path]) -> None:
    volume = read_volume(files["t1"])
    write_volume(files["t1"], Volume(np.full_like(volume.array, 7), volume.affine))
    assert "has the value 7 in every voxel" in opened(bench, files)
    snapshot = bench.snapshot()
    assert not snapshot.can_run
    assert "has the value 7" in snapshot.why_not_run
    assert "sharp" in bench.rows()


def test_a_reference_on_another_grid_is_put_on_that_of_the_case(tmp_path: Path) -> None:
    folder = a_case(tmp_path / "cases")
    label = read_labels(folder / "Ann_seg.nii.gz")
    flipped = label.affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 47], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    write_volume(folder / "Ann_seg.nii.gz", Volume(np.ascontiguousarray(label.array[:, ::-1]), flipped))
    bench = a_workbench(tmp_path / "session", {"Ann": folder})
    bench.open_case("Ann")
    finish(bench)
    assert np.array_equal(mask(bench.truth, "WT", bench), label.array > 0)
    bench.close()


@pytest.fixture(scope="module")
def downloaded(bench: Workbench) -> dict[str, bytes]:
    """The files of a finished run on a blurred case: name -> bytes."""
    bench.open_case("Ann")
    finish(bench)
    bench.simulate(2, 1)
    finish(bench)
    bench.run()
    finish(bench)
    bench.measure_robustness()
    finish(bench, lambda: len(bench.snapshot().robustness) == 1)
    bench.cancel()
    finish(bench)
    bench.prepare_downloads()
    finish(bench)
    out = bench._deeds._out
    ready = {download.name: download.bytes for download in bench.snapshot().downloads}
    assert ready == {path.name: path.stat().st_size for path in out.iterdir()}
    return {name: (out / name).read_bytes() for name in ready}


def test_all_that_was_made_can_be_downloaded(downloaded: dict[str, bytes]) -> None:
    made = {f"Ann_{m}_{kind}_synthetic.nii.gz" for m in MODALITIES for kind in ("pseudo-clear", "motion")}
    tables = {"Ann_regions.csv", "Ann_report.json", "Ann_trajectory.json", "Ann_robustness.csv"}
    assert set(downloaded) == made | tables | {"Ann_seg.nii.gz", "Ann_tumour.seg.nrrd", "Ann_all.zip"}
    with zipfile.ZipFile(io.BytesIO(downloaded["Ann_all.zip"])) as packed:
        assert set(packed.namelist()) == set(downloaded) - {"Ann_all.zip"} | {"README.txt"}
        assert packed.read("Ann_seg.nii.gz") == downloaded["Ann_seg.nii.gz"]
        assert "not for diagnosis" in packed.read("README.txt").decode()


def test_the_label_map_is_what_is_shown(downloaded: dict[str, bytes], tmp_path: Path, bench: Workbench) -> None:
    (tmp_path / "seg.nii.gz").write_bytes(downloaded["Ann_seg.nii.gz"])
    label = read_labels(tmp_path / "seg.nii.gz")
    volume = bench.rows()["sharp"]["t1ce"]
    assert np.array_equal(
        label.array > 0, slicer.util.arrayFromSegmentBinaryLabelmap(bench.segmentation, "WT", volume) > 0
    )


def test_the_segmentation_opens_in_slicer(downloaded: dict[str, bytes], tmp_path: Path, bench: Workbench) -> None:
    (tmp_path / "a.seg.nrrd").write_bytes(downloaded["Ann_tumour.seg.nrrd"])
    node, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    slicer.mrmlScene.AddNode(node)
    storage.SetFileName(str(tmp_path / "a.seg.nrrd"))
    assert storage.ReadData(node)
    volume = bench.rows()["sharp"]["t1ce"]
    for region in REGIONS:
        there, here = (
            slicer.util.arrayFromSegmentBinaryLabelmap(n, region, volume) for n in (node, bench.segmentation)
        )
        assert np.array_equal(there > 0, here > 0)
    slicer.mrmlScene.RemoveNode(node)


def test_downloads_tell_no_path(downloaded: dict[str, bytes], bench: Workbench) -> None:
    secrets = [str(Path(__file__).parents[2]), str(bench._deeds._out.parent), str(Path.home()), "/tmp/"]
    for name, data in downloaded.items():
        plain = gzip.decompress(data) if name.endswith(".gz") else data
        if not name.endswith(".zip"):  # which holds the others
            assert not [secret for secret in secrets if secret.encode() in plain], name
    assert json.loads(downloaded["Ann_report.json"])["weights"]["path"] == "tiny.pt"


def test_the_robustness_table_is_read_by_others(downloaded: dict[str, bytes], bench: Workbench) -> None:
    (row,) = csv.DictReader(io.StringIO(downloaded["Ann_robustness.csv"].decode()))
    first = bench.snapshot().robustness[0]
    assert (row["severity"], row["measure"]) == ("0", "dice")
    assert float(row["WT_dice"]) == pytest.approx(first.WT, abs=1e-4)


def test_a_new_state_has_no_old_downloads(downloaded: dict[str, bytes], bench: Workbench) -> None:
    bench.simulate(0, 1)
    finish(bench)
    assert bench.snapshot().downloads == ()
    assert list(bench._deeds._out.iterdir()) == []
