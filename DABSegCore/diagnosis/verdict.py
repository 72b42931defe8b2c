"""Verdict: whether segmenting would work, in one sentence, and what else deserves a look."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from DABSegCore.diagnosis.packages import get_all

GIB = 2**30
LEAST_PYTHON = (3, 10)
LEAST_MEMORY_GIB = 2
"""A case of 155 x 240 x 240 voxels took 1.1 GiB with the weights that ship, on a CPU; more with larger ones."""
LEAST_DISK_GIB = 1
"""Results of such a case take some 20 MB."""

Report = Mapping[str, Any]


def judge(report: Report) -> tuple[bool, str]:
    """Whether segmenting would work with the options it has by itself, and the sentence that says so.

    Args:
        report: What was found, as `examine` puts it together.
    """
    obstacle = next(_obstacles(report), None)
    if obstacle is not None:
        return False, f"Segmenting would not work: {obstacle}."
    device = _device(report, report["auto"])
    return True, f"Segmenting would work, on {report['auto']} in {device['precision']}."


def look_at(report: Report) -> list[str]:
    """What does not keep segmenting from working but may make it slow, or end it later."""
    return list(_cautions(report))


def _obstacles(report: Report) -> Iterator[str]:
    """Reasons why segmenting would not work, those first that others follow from."""
    if sys.version_info < LEAST_PYTHON:
        yield f"Python {report['python']['version']} is too old; use {'.'.join(map(str, LEAST_PYTHON))} or newer"
    required = [package for package in report["packages"] if package["required"]]
    missing = [package for package in required if package["state"] == "missing"]
    if missing:
        *names, last = [package["name"] for package in missing]
        fact = f"{', '.join(names)} and {last} are missing" if names else f"{last} is missing"
        yield f"{fact}; {get_all(package['get'] for package in missing)}"
    for package in required:
        if package["state"] in ("broken", "old"):
            yield f"{package['name']} {package['version']} is {package['state']}: {package['says']}"
    if report["weights"]["fault"]:
        yield report["weights"]["fault"]
    if report["died"]:
        yield report["died"]
    device = _device(report, report["auto"])
    if device is None:
        yield "no device was found to compute on"
    elif device["state"] != "works":
        works = [other["name"] for other in report["devices"] if other["state"] == "works"]
        cure = f"; with --device {works[0]} it would" if works else ""
        yield f"{device['name']} is what it would take by itself, and there {device['says']}{cure}"
    for disk in report["disks"]:
        if disk["fault"]:
            yield f"{disk['path']} ({disk['purpose']}) cannot be written: {disk['fault']}; choose another folder"


def _cautions(report: Report) -> Iterator[str]:
    """Sentences."""
    for device in report["devices"]:
        if device["state"] == "fails" and device["name"] != report["auto"]:
            yield f"{device['name']} is not used: {device['says']}"
        elif device["state"] == "absent" and device.get("part") != "gpu":
            yield f"{device['says']}; until then the CPU computes, which is slower"
    threads, cores = report["processor"].get("threads"), report["processor"]["usable_cores"]
    if threads and cores and threads > cores:
        yield f"torch computes with {threads} threads on {cores} cores, which is slow; set OMP_NUM_THREADS={cores}"
    if report["python"]["bits"] != 64:
        yield "this Python has 32 bits, for which there is no PyTorch; install one of 64 bits"
    free = report["memory"]["free"]
    if free is not None and free < LEAST_MEMORY_GIB * GIB:
        yield f"only {free / GIB:.1f} GiB of memory are free; a case takes {LEAST_MEMORY_GIB}: close other programs"
    for disk in report["disks"]:
        if not disk["fault"] and disk["free"] is not None and disk["free"] < LEAST_DISK_GIB * GIB:
            yield f"only {disk['free'] / GIB:.2f} GiB are free at {disk['path']} ({disk['purpose']})"


def _device(report: Report, name: str | None) -> Mapping[str, Any] | None:
    return next((device for device in report["devices"] if device["name"] == name), None)
