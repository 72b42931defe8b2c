"""Page: the report as text to paste into a bug report, with the home folder shown as ~."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

WIDTH = 110
INDENT = 13
_CASE = re.IGNORECASE if os.name == "nt" else 0


def without_home(value: Any, home: Path | None = None) -> Any:
    """The same with every mention of the home folder replaced by ~, as it holds a person's name.

    Args:
        value: Text, or lists and dictionaries with texts in them.
        home: The folder; that of the user if none is given.
    """
    if isinstance(value, str):
        for name in sorted(_spellings(home), key=len, reverse=True):
            value = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", "~", value, flags=_CASE)
        return value
    if isinstance(value, Mapping):
        return {key: without_home(item, home) for key, item in value.items()}
    return [without_home(item, home) for item in value] if isinstance(value, list) else value


def page(report: Mapping[str, Any]) -> str:
    """The report as lines of text."""
    lines = [report["verdict"], ""]
    for caution in report["look_at"]:
        lines += _wrapped("caution", caution)
    lines += [""] if report["look_at"] else []
    for name, text in _facts(report):
        lines += _wrapped(name, text)
    lines += ["", "packages"]
    for package in report["packages"]:
        state = package["state"] if package["state"] != "missing" else "missing:"
        lines += _row(package["name"], " ".join(filter(None, (package["version"], state, package["says"]))))
    lines += ["", "devices"]
    for device in report["devices"]:
        lines += _row(device["name"], _device(device))
    lines += [] if report["devices"] else _row("none", "could be asked")
    lines += ["", "weights"]
    for name, text in _weights(report["weights"]):
        lines += _row(name, text)
    return "\n".join(lines) + "\n"


def _facts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rows of the first block."""
    dabseg, python, processor, memory = (report[key] for key in ("dabseg", "python", "processor", "memory"))
    commit = f"commit {dabseg['commit']}, a checkout" if dabseg["commit"] else "installed"
    yield "DABSeg", f"{dabseg['version']}, {commit} at {dabseg['code']}"
    if dabseg["slicer"]:
        yield "Slicer", dabseg["slicer"]
    yield "Python", f"{python['version']}, {python['bits']} bits, {python['executable']}"
    for name, value in python["settings"].items():
        yield "setting", f"{name}={value}"
    yield "system", report["system"]
    cores = f"{processor['cores']} cores, {processor['usable_cores']} of them for this process"
    threads = f", torch computes with {processor['threads']} threads" if "threads" in processor else ""
    instructions = f", {processor['instructions']}" if "instructions" in processor else ""
    yield "processor", f"{processor['model']}, {cores}{threads}{instructions}"
    yield "memory", f"{_size(memory['total'])}, {_size(memory['free'])} free"
    for disk in report["disks"]:
        fault = f", but cannot be written: {disk['fault']}" if disk["fault"] else ""
        yield "disk", f"{_size(disk['free'])} free for {disk['purpose']} at {disk['path']}{fault}"
    yield "network", report["network"]
    yield "date", report["created"]


def _device(device: Mapping[str, Any]) -> str:
    """What is told of a device, in a line."""
    title = f"{device['title']}: " if device["title"] else ""
    if "memory_total" in device:
        title = f"{device['title']}, {_size(device['memory_total'])}, {_size(device['memory_free'])} free: "
    if device["state"] != "works":
        blame = f" ({device['part']})" if device["state"] == "fails" or device["part"] != "gpu" else ""
        return f"{title}{device['state']}{blame}: {device['says']}"
    times = ", ".join(f"{name} {ms:.{0 if ms >= 10 else 1}f} ms" for name, ms in device["ms"].items())
    return f"{title}works; {times}; {device['precision']}, {device['precision_why']}"


def _weights(weights: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rows about the weights."""
    shipped = " (the ones that ship)" if weights["shipped"] else ""
    yield "file", f"{weights['path']}{shipped}, {_megabytes(weights['bytes'])}"
    yield "SHA-256", weights["sha256"] or "unknown"
    if weights["opened"]:
        facts = f"preset {weights['preset']}, {weights['parameters']:,} parameters, written by DABSeg"
        yield "state", f"open; {facts} {weights['version']}"
    else:
        yield "state", weights["fault"] or "not tried"


def _row(name: str, text: str) -> list[str]:
    """A line of a block, indented."""
    return _wrapped(f"  {name}", text)


def _wrapped(name: str, text: str) -> list[str]:
    """A name and a text beside it, wrapped."""
    begin = f"{name:<{INDENT}} "
    indent = " " * len(begin)
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=begin,
        subsequent_indent=indent,
        break_long_words=False,  # paths and digests are to be copied whole
        break_on_hyphens=False,
    )


def _spellings(home: Path | None) -> set[str]:
    """Ways to write the home folder; none where it is the root, with which every path begins."""
    try:
        home = home or Path.home()
        paths = [path for path in (home, home.resolve()) if len(path.parts) > 1]
    except (OSError, RuntimeError):  # there is none
        return set()
    return {text for path in paths for text in (str(path), path.as_posix(), str(path).replace("\\", "\\\\"))}


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 2**30:.1f} GiB"


def _megabytes(count: int | None) -> str:
    return "unknown size" if count is None else f"{count / 1e6:.1f} MB"
