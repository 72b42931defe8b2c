"""Packages: what DABSeg needs and what it can use, what each is for, and how to get it; standard library only."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Package:
    """A package of others.

    Attributes:
        name: What it is installed as.
        module: What it is imported as.
        needed_for: What does not work without it.
        at_least: Oldest version that will do.
        required: Whether segmenting needs it.
    """

    name: str
    module: str
    needed_for: str
    at_least: str
    required: bool = False


PACKAGES = (
    Package("numpy", "numpy", "everything", "1.26", required=True),
    Package("torch", "torch", "the network", "2.6", required=True),
    Package("scipy", "scipy.ndimage", "preparing images, and figures", "1.11", required=True),
    Package("SimpleITK", "SimpleITK", "reading and writing images", "2.3", required=True),
    Package("matplotlib", "matplotlib", "curves and figures of training and evaluation", "3.8"),
    Package("tensorboard", "tensorboard", "following a training in a browser", "2.16"),
    Package("monai", "monai", "other networks to compare with, and some tests", "1.4"),
    Package("nibabel", "nibabel", "some tests", "5.2"),
    Package("slicer-core", "slicer", "testing the Slicer module without Slicer", "5.13"),
)
REQUIRED = tuple(package for package in PACKAGES if package.required)


def installed_version(package: Package) -> str | None:
    """The version that is installed, without importing it; None where none is found."""
    try:
        return importlib.metadata.version(package.name)
    except importlib.metadata.PackageNotFoundError:
        return None
    except Exception:  # a broken installation: its metadata may raise anything
        return None


def how_to_get(package: Package) -> str:
    """What to do to have a package, in the words of the place this runs in."""
    if os.environ.get("SLICER_HOME") and package.name == "torch":
        return "install Slicer's extension PyTorch"
    if os.environ.get("SLICER_HOME") and package.required:
        return "it ships with Slicer: install Slicer again"
    return f'pip install "{package.name}>={package.at_least}"'


def finding(package: Package, version: str | None, fault: str | None = None, *, works: bool = False) -> dict[str, Any]:
    """What is to be told of a package.

    Args:
        package: The package.
        version: What is installed; None if nothing is.
        fault: Why it could not be imported, if that was tried and failed.
        works: Whether it could.

    Returns:
        `name`, `version`, `required`, `state` (works, installed, missing, old or broken), `says` (a sentence or "")
        and `get` (how to have it).
    """
    get = how_to_get(package)
    if version is None:
        state, says = "missing", f"needed for {package.needed_for}; {get}"
    elif fault is not None:
        state, says = "broken", f"{fault}; install it again: {get}"
    elif is_older(version, package.at_least):
        state, says = "old", f"{package.at_least} or newer is needed for {package.needed_for}; {get}"
    else:
        state, says = ("works" if works else "installed"), ""
    found = {"name": package.name, "version": version, "required": package.required}
    return {**found, "state": state, "says": says, "get": get}


def get_all(ways: Iterable[str]) -> str:
    """Several ways to get packages in one sentence, with all that pip installs in one command."""
    pip = "pip install "
    ways = list(dict.fromkeys(ways))
    names = [way.removeprefix(pip) for way in ways if way.startswith(pip)]
    return "; ".join([way for way in ways if not way.startswith(pip)] + ([pip + " ".join(names)] if names else []))


def is_older(version: str, needed: str) -> bool:
    """Whether a version comes before another, by its leading numbers; one without numbers is let pass."""
    numbers, least = _numbers(version), _numbers(needed)
    return bool(numbers) and numbers < least


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: 2.13.0+cpu is (2, 13, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()
