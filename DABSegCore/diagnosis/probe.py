"""Probe: what must not take `doctor` down with it, in a process of its own that tells of each step before it takes it.

    python -m DABSegCore.diagnosis.probe cpu WEIGHTS
    python -m DABSegCore.diagnosis.probe cuda:0 WEIGHTS

A wheel for another processor ends the process when it is imported, and so may a GPU's driver. What was said until then
has been said, as lines of `--progress json`: a stage for a step, a metric with a `kind` for a finding.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from DABSegCore.diagnosis.nvidia import explain_error, missing_architecture
from DABSegCore.diagnosis.packages import REQUIRED, Package
from DABSegCore.errors import InputError
from DABSegCore.progress import Progress, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Examine a device; with "cpu" also the packages, the weights, and which devices there are."""
    device, weights = sys.argv[1:] if argv is None else argv
    progress = Progress("json")
    warnings.simplefilter("ignore")  # what they warn of is found out here
    if device == "cpu":
        _examine_cpu(Path(weights), progress)
    else:
        _examine_gpu(device, Path(weights), progress)
    progress.done()
    return 0


def _examine_cpu(weights: Path, progress: Progress) -> None:
    """Packages; the CPU; the weights on it; and the names of the other devices."""
    absent = {package.name for package in REQUIRED if not _import(package, progress)}
    if absent & {"numpy", "torch"}:
        return
    import torch

    cpu = torch.device("cpu")
    facts = {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}
    model = _open(weights, progress)
    progress.stage("computing on the CPU")
    progress.metric(kind="device", name="cpu", title="", **facts, **_try_device(cpu, model, lambda error: error))
    progress.stage("looking for GPUs")
    progress.metric(kind="gpus", **_gpus())


def _import(package: Package, progress: Progress) -> bool:
    """Import a package and tell how that went."""
    progress.stage(f"importing {package.name}")
    top = package.module.split(".")[0]
    try:
        importlib.import_module(package.module)
        version = str(getattr(sys.modules[top], "__version__", "unknown"))
        progress.metric(kind="package", name=package.name, version=version)
        return True
    except Exception as error:  # a broken wheel may raise anything
        absent = isinstance(error, ModuleNotFoundError) and error.name == top
        progress.metric(kind="package", name=package.name, absent=absent, fault=_in_short(error))
        return False


def _open(weights: Path, progress: Progress) -> Any | None:
    """The network of the weights, None where they do not open."""
    from DABSegCore.diagnosis.kernels import read_weights

    progress.stage("opening the weights")
    try:
        model, facts = read_weights(weights)
    except InputError as fault:
        progress.metric(kind="weights", fault=str(fault))
        return None
    progress.metric(kind="weights", fault=None, **facts)
    return model


def _try_device(device: Any, model: Any | None, explain: Callable[[str], str | dict[str, str]]) -> dict[str, Any]:
    """Let a device compute. Returns `state`, `ms`, `precision`, and `says` where it fails."""
    from DABSegCore.diagnosis.kernels import precision, try_network, try_operations

    found: dict[str, Any] = {"state": "works", "ms": {}}
    try:
        found["ms"] = try_operations(device)
        if model is not None:
            found["ms"]["network"] = try_network(model, device)
        found["precision"], found["precision_why"] = precision(device)
    except Exception as error:  # drivers and wheels have many ways to fail
        why = explain(_in_short(error))
        found |= {"state": "fails", **(why if isinstance(why, dict) else {"part": "kernel", "says": why})}
    return found


def _gpus() -> dict[str, Any]:
    """Names of the devices beside the CPU, the one segmenting would take, and why there is no CUDA if there is none."""
    import torch

    from DABSegCore.devices import available_devices, resolve_device

    mps = torch.backends.mps
    found = {"cuda": torch.version.cuda, "hip": torch.version.hip, "mps_built": mps.is_built(), "error": None}
    found |= {"names": available_devices()[1:], "auto": str(resolve_device("auto"))}
    if (torch.version.cuda or torch.version.hip) and not torch.cuda.is_available():
        try:
            torch.cuda.init()
        except Exception as error:
            found["error"] = _in_short(error)
    return found


def _examine_gpu(name: str, weights: Path, progress: Progress) -> None:
    """One device beside the CPU."""
    progress.stage(f"computing on {name}")
    import torch

    from DABSegCore.diagnosis.kernels import read_weights

    device = torch.device(name)
    try:
        model = read_weights(weights)[0]
    except InputError:  # told already
        model = None
    title, architecture = {"title": "Apple's GPU"}, None
    if device.type == "cuda":
        try:
            title, architecture = _cuda_title(device)
        except Exception as error:  # it will not compute either, and that is explained
            title = {"title": _in_short(error)}

    def explain(error: str) -> dict[str, str]:
        why = explain_error(error, "driver", torch.version.cuda, architecture)
        return {"part": why.part, "says": why.sentence}

    progress.metric(kind="device", name=name, **title, **_try_device(device, model, explain))


def _cuda_title(device: Any) -> tuple[dict[str, Any], str | None]:
    """Name and memory of a GPU, and what is wrong with its architecture."""
    import torch

    capability = torch.cuda.get_device_capability(device)
    listed = [] if torch.version.hip else torch.cuda.get_arch_list()
    free, total = torch.cuda.mem_get_info(device)
    name = f"{torch.cuda.get_device_name(device)}, sm_{capability[0]}{capability[1]}"
    return {"title": name, "memory_total": total, "memory_free": free}, missing_architecture(capability, listed)


def _in_short(error: BaseException) -> str:
    """Kind and first line of an exception."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


if __name__ == "__main__":
    run_command(main)
