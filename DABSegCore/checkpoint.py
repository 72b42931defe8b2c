"""Checkpoint: weights, configuration and facts of a training in one file that is never unpickled."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from DABSegCore import __version__
from DABSegCore.errors import InputError
from DABSegCore.files import replacing
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.models import build_model
from DABSegCore.models.weights_file import is_plain, read_weights_file
from DABSegCore.networks import NETWORKS, AnyConfig, TwoStageConfig, as_plain, config_from, family_of

FORMAT = "dabseg-checkpoint"
FORMAT_VERSION = 1
DEFAULT_THRESHOLD = 0.5


def shipped_weights() -> Path:
    """Path of the weights that come with the package (preset `small`)."""
    return Path(__file__).parent / "weights" / "small.pt"


def preset_name(config: AnyConfig) -> str:
    """Name of the network a configuration equals, "A+B" for two stages, or "custom"."""
    if isinstance(config, TwoStageConfig):
        return f"{preset_name(config.restorer)}+{preset_name(config.segmenter)}"
    return next((name for name, known in NETWORKS.items() if known == config), "custom")


def save_checkpoint(path: str | Path, model: nn.Module, config: AnyConfig, meta: dict, half: bool = False) -> None:
    """Write a checkpoint; the file appears complete or not at all.

    Args:
        path: File to write; its folder is made when absent.
        model: Network whose `state_dict` is stored.
        config: Configuration from which `build_model` makes the same network.
        meta: Plain facts (numbers, strings, lists, dicts): metrics, training, `thresholds` by region,
            `et_min_ml` (smaller enhancing tumours are taken for false alarms), `window` (edge of the patches it was
            trained on, and works best in).
        half: Store floating-point tensors as float16, half the size; loading gives float32 back.

    Raises:
        InputError: If the file cannot be written.
    """
    path = Path(path)
    state = {name: _stored(tensor, half) for name, tensor in model.state_dict().items()}
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "version": __version__,
        "family": family_of(config),
        "config": as_plain(config),
        "modalities": list(MODALITIES),
        "regions": list(REGIONS),
        "meta": meta,
        "state": state,
    }
    write_torch_file(path, content)


def write_torch_file(path: Path, content: dict) -> None:
    """Write a dictionary of tensors and plain values; the file appears complete or not at all.

    Raises:
        InputError: If it cannot be written; a file that was there before is left as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # An open file rather than a path: torch's own writer cannot name non-ASCII paths everywhere.
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:  # torch hides a full disk behind a RuntimeError
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        raise InputError(
            f"the checkpoint {path} could not be written ({reason}); free some space or choose another folder",
            code="cannot-write",
        ) from error


def load_checkpoint(
    path: str | Path, device: str | torch.device = "cpu", expect_preset: str | None = None
) -> tuple[nn.Module, dict]:
    """Rebuild the network of a checkpoint, in evaluation mode and float32.

    Only tensors and plain Python values are read (`weights_only=True`): code hidden in the file never runs.

    Args:
        path: File written by `save_checkpoint`.
        device: Where the network is put.
        expect_preset: Refuse weights of any other preset.

    Returns:
        The network and its meta: what was saved, plus `preset`, `version`, complete `thresholds`, `et_min_ml` and
        `window` (None where the file names none).

    Raises:
        InputError: If the file is absent, truncated, hostile, not ours, or does not fit its configuration.
    """
    path = Path(path)
    content = _read(path)
    _check_header(path, content)
    config = _config(path, content.get("family", "dabseg"), content["config"])
    name = preset_name(config)
    if expect_preset is not None and name != expect_preset:
        raise InputError(
            f"the weights {path} are of preset {name!r}, but {expect_preset!r} was asked for; "
            "drop --preset or pick other weights",
            code="preset-mismatch",
        )
    meta = {**content["meta"], "preset": name, "version": str(content.get("version", "unknown"))}
    meta["thresholds"] = _thresholds(path, meta.get("thresholds", {}))
    meta["et_min_ml"] = _et_min_ml(path, meta.get("et_min_ml", 0.0))
    meta["window"] = _window(path, meta.get("window"))
    model, state = _outline(path, config), content["state"]
    expected = model.state_dict()
    _check_state(path, state, expected)
    model.load_state_dict({name: _own(state[name], like, device) for name, like in expected.items()}, assign=True)
    return model.eval(), meta


def _own(tensor: Tensor, like: Tensor, device: str | torch.device) -> Tensor:
    """A copy on a device, of the type the network has.

    Why not `to_empty`: measured with torch 2.13 its first tensor imports 486 modules, in 0.3 s.
    """
    return tensor.to(device, like.dtype, copy=True, memory_format=torch.contiguous_format)


def _stored(tensor: Tensor, half: bool) -> Tensor:
    """A detached CPU copy, float16 when `half` and floating."""
    tensor = tensor.detach().cpu().contiguous().clone()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def _read(path: Path) -> dict:
    """The dictionary inside the file; refuses anything that is not plain data in torch's zip format."""
    fault = InputError(
        f"{path} is not a DABSeg checkpoint or is damaged; pick other weights (nothing in it was run)",
        code="bad-checkpoint",
    )
    content = read_weights_file(path, fault)
    if not isinstance(content, dict):
        raise fault
    return content


def _check_header(path: Path, content: dict) -> None:
    """Format tag, version, modality order, regions and the sections that must be there."""
    if content.get("format") != FORMAT:
        raise InputError(
            f"{path} holds no DABSeg checkpoint; published weights come in through models.published_weights",
            code="bad-checkpoint",
        )
    version = content.get("format_version")
    if not isinstance(version, int) or version != FORMAT_VERSION:
        raise InputError(
            f"{path} has checkpoint format {version!r:.20}, but this program reads "
            f"{FORMAT_VERSION}; update DABSeg or pick other weights",
            code="bad-checkpoint",
        )
    for key, ours in (("modalities", MODALITIES), ("regions", REGIONS)):
        theirs = content.get(key)
        if not isinstance(theirs, (list, tuple)) or tuple(theirs) != ours:
            raise InputError(
                f"the weights {path} were trained with {key} {theirs!s:.80}, but this program feeds {list(ours)}; "
                "pick weights with the same order",
                code=f"{key}-mismatch",
            )
    for key in ("config", "meta", "state"):
        if not isinstance(content.get(key), dict):
            raise InputError(f"{path} lacks its section {key!r}; download or train it again", code="bad-checkpoint")


def _config(path: Path, family: object, fields: dict) -> AnyConfig:
    """The configuration, refused where a field is unknown, of the wrong kind or out of bounds."""
    try:
        config = config_from(family, fields)
        for field, ours in (("modalities", MODALITIES), ("regions", REGIONS)):
            if getattr(config, field) != len(ours):
                raise ValueError(f"{field} must be {len(ours)}, got {getattr(config, field)}")
    except (TypeError, ValueError) as error:
        raise _misfit(path, error) from error
    return config


def _outline(path: Path, config: AnyConfig) -> nn.Module:
    """The network without its numbers, which takes no memory however large a configuration asks it to be."""
    try:
        with torch.device("meta"):
            return build_model(config)
    except InputError:  # a package that is missing is not the file's fault
        raise
    except Exception as error:  # whatever keeps a network from being built, its configuration is at fault
        raise _misfit(path, error) from error


def _misfit(path: Path, error: Exception) -> InputError:
    return InputError(
        f"the configuration in {path} does not fit this program ({error}); update DABSeg or pick other weights",
        code="bad-checkpoint",
    )


def _check_state(path: Path, state: dict, expected: dict[str, Tensor]) -> None:
    """Every weight is there once, a tensor of finite numbers with the shape the configuration asks for."""
    for name, tensor in state.items():
        if not isinstance(name, str) or not name.isprintable() or not is_plain(tensor):
            raise InputError(
                f"the entry {name!r:.60} in {path} is no plain tensor with a name; pick other weights",
                code="bad-checkpoint",
            )
    _check_names_and_shapes(path, state, expected)
    for name, tensor in state.items():
        if not torch.isfinite(tensor.float()).all():  # the network computes in float32
            raise InputError(
                f"the weights {name!r} in {path} hold NaN or Inf; pick other weights", code="bad-checkpoint"
            )


def _check_names_and_shapes(path: Path, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Refuse with counts and examples of what is missing, unexpected or mis-shaped."""
    shapes = [
        f"{name} {list(state[name].shape)} instead of {list(expected[name].shape)}"
        for name in state.keys() & expected.keys()
        if state[name].shape != expected[name].shape
    ]
    faults = {
        "missing": sorted(expected.keys() - state.keys()),
        "unexpected": sorted(state.keys() - expected.keys()),
        "mis-shaped": sorted(shapes),
    }
    said = [f"{len(names)} {kind} ({_first(names)})" for kind, names in faults.items() if names]
    if said:
        raise InputError(
            f"the weights in {path} do not fit their network: {', '.join(said)}; pick other weights",
            code="weights-mismatch",
        )


def _first(names: list[str], count: int = 3) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def _thresholds(path: Path, given: object) -> dict[str, float]:
    """Probability threshold of every region, 0.5 where the file says nothing."""
    values = {region: given.get(region, DEFAULT_THRESHOLD) for region in REGIONS} if isinstance(given, dict) else {}
    if not values or not all(isinstance(v, (int, float)) and 0 < v < 1 for v in values.values()):
        raise InputError(
            f"the thresholds in {path} must lie between 0 and 1; pick other weights", code="bad-checkpoint"
        )
    return {region: float(value) for region, value in values.items()}


def _et_min_ml(path: Path, given: object) -> float:
    """Smallest enhancing tumour believed, in ml."""
    if not isinstance(given, (int, float)) or not 0 <= given <= sys.float_info.max:
        raise InputError(
            f"the et_min_ml in {path} must be a finite number of millilitres, 0 or more, got {given!r:.20}; "
            "pick other weights",
            code="bad-checkpoint",
        )
    return float(given)


def _window(path: Path, given: object) -> int | None:
    """Window edge in voxels that the weights work best in; None where they name none."""
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or not 32 <= given <= 1024):
        raise InputError(
            f"the window in {path} must be a whole number of voxels from 32 to 1024, got {given!r:.20}; "
            "pick other weights",
            code="bad-checkpoint",
        )
    return given
