"""Messages: a child's last words become a cause and a cure that make sense to somebody who sees the panel only."""

from __future__ import annotations

import pytest
from DABSegLib.process.messages import Fault, fault_of_bug, fault_of_child, fault_of_error, readable

from DABSegCore.errors import InputError

NAMES = {"/tmp/dabseg-x/in/t1.nii": "ax T1", "/tmp/dabseg-x/in/t1ce.nii": "T1 post Gd"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "t1 and t1ce are the same file twice or copies of it (/tmp/dabseg-x/in/t1.nii and "
            "/tmp/dabseg-x/in/t1ce.nii), but each modality is an image of its own; give the right file for each",
            'T1 and T1ce are the same file twice or copies of it ("ax T1" and "T1 post Gd"), but each modality is an '
            "image of its own; give the right file for each",
        ),
        (
            "t1.nii lies on another grid than the t1ce image and covers 54% of it: resampled by its header",
            '"ax T1" lies on another grid than the T1ce image and covers 54% of it: resampled by its header',
        ),
        ("case_t1 has negative intensities in t2, flair", "case_t1 has negative intensities in T2, FLAIR"),
        ("no weights ship for it; give some with --weights", "no weights ship for it; choose a file under Weights"),
        (
            "/out cannot be written (No space); free some space or choose another folder with --out",
            "/out cannot be written (No space); free some space or choose another folder",
        ),
        (
            "/out/x_report.json tells of another case of this name, whose t1 image is /a/x.nii; choose another --out, "
            "or a --case-id with the four images named one by one, or replace it with --overwrite",
            "/out/x_report.json tells of another case of this name, whose T1 image is /a/x.nii; choose another results "
            "folder",
        ),
        ("use --device auto or one of these", "choose auto or one of these under Device"),
        ("name it like .nii.gz or .mha with --out .", "name it like .nii.gz or .mha."),
        ("--box 3 9 0 4 0 4 has no brain in it", "the region of interest 3 9 0 4 0 4 has no brain in it"),
    ],
)
def test_temporary_files_and_options_get_the_names_of_the_panel(said, told):
    assert readable(said, NAMES) == told


def test_a_name_that_looks_like_a_modality_or_a_pattern_stays_as_it_is():
    assert readable("/x/t1.nii is bad", {"/x/t1.nii": r"t2 \1 --out"}) == r'"t2 \1 --out" is bad'
    assert readable(r"C:\x\t1.nii is bad", {r"C:\x\t1.nii": "head"}) == '"head" is bad'


def test_a_sentence_is_parted_at_its_last_semicolon():
    fault = fault_of_error(InputError("it is; or is not, this; choose that", code="odd"))
    assert fault == Fault("It is; or is not, this.", "Choose that.", "odd", "")
    assert fault_of_error(InputError("no cure", code="odd")) == Fault("No cure.", "", "odd", "")


def test_an_error_event_is_the_cause():
    event = {"event": "error", "message": "t2 is a cat; choose a head", "code": "no-head"}
    assert fault_of_child(event, 2, "error: ...\n") == Fault(
        "T2 is a cat.", "Choose a head.", "no-head", "error: ...\n"
    )


def test_a_process_that_says_nothing_is_a_fault_all_the_same():
    assert fault_of_child(None, 1, "").cause == "The computation ended with the exit code 1, and said nothing."
    fault = fault_of_child(None, 1, "\n".join(f"line {n}" for n in range(9)))
    assert fault.cause.endswith("exit code 1: line 4 / line 5 / line 6 / line 7 / line 8")
    assert fault.code == "child-failed"
    assert "line 0" in fault.log


def test_a_mistake_of_ours_in_the_child_is_told_with_its_log():
    event = {"event": "error", "message": "x: Traceback ...", "code": "bug"}
    assert fault_of_child(event, 1, "KeyError: 'x'").cause.endswith("KeyError: 'x'")


def test_a_process_that_was_killed_ran_out_of_memory():
    assert fault_of_child(None, -9, "").code == "killed"
    assert "memory" in fault_of_child(None, 137, "").cause
    launcher = "error: [/opt/Slicer/bin/../bin/./python-real] exit abnormally - Report the problem.\n"
    assert fault_of_child(None, 1, launcher).code == "killed"


def test_a_child_without_torch_says_where_it_comes_from():
    fault = fault_of_child(None, 1, "Traceback ...\nModuleNotFoundError: No module named 'torch'\n")
    assert fault.code == "no-torch"
    assert "PyTorch" in fault.cure


def test_a_mistake_of_ours_keeps_its_traceback():
    try:
        {}["x"]  # noqa: B018
    except KeyError as bug:
        fault = fault_of_bug(bug)
    assert fault.code == "bug"
    assert "KeyError: 'x'" in fault.cause
    assert "test_a_mistake_of_ours_keeps_its_traceback" in fault.log
