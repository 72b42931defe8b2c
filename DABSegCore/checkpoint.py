"""Checkpoint: weights, configuration and facts of a training in one file that is never unpickled."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from DABSegCore import __version__
from DABSegCore.config import PRESETS, ModelConfig
from DABSegCore.errors import InputError
from DABSegCore.files import replacing
from DABSegCore.labels import MODALITIES, REGIONS
from DABSegCore.models import build_model

FORMAT = "dabseg-checkpoint"
FORMAT_VERSION = 1
DEFAULT_THRESHOLD = 0.5


def shipped_weights() -> Path:
    """Path of the weights that come with the package (preset `small`)."""
    return Path(__file__).parent / "weights" / "small.pt"


def preset_name(config: ModelConfig) -> str:
    """Name of the preset a configuration equals, or "custom"."""
    return next((name for name, preset in PRESETS.items() if preset == config), "custom")


def save_checkpoint(path: str | Path, model: nn.Module, config: ModelConfig, meta: dict, half: bool = False) -> None:
    """Write a checkpoint; the file appears complete or not at all.

    Args:
        path: File to write; its folder is made when absent.
        model: Network whose `state_dict` is stored.
        config: Configuration from which `build_model` makes the same network.
        meta: Plain facts (numbers, strings, lists, dicts): metrics, training, `thresholds` by region,
            `et_min_ml` (smaller enhancing tumours are taken for false alarms).
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
        "config": dataclasses.asdict(config),
        "modalities": list(MODALITIES),
        "regions": list(REGIONS),
        "meta": meta,
        "state": state,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # An open file rather than a path: torch's own writer cannot name non-ASCII paths everywhere.
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch turns a full disk into a RuntimeError
        raise InputError(
            f"the checkpoint {path} could not be written ({error}); free some space or choose another folder",
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
        The network and its meta: what was saved, plus `preset`, `version` and complete `thresholds`.

    Raises:
        InputError: If the file is absent, truncated, hostile, not ours, or does not fit its configuration.
    """
    path = Path(path)
    content = _read(path)
    _check_header(path, content)
    config = _config(path, content["config"])
    name = preset_name(config)
    if expect_preset is not None and name != expect_preset:
        raise InputError(
            f"the weights {path} are of preset {name!r}, but {expect_preset!r} was asked for; "
            "drop --preset or pick other weights",
            code="preset-mismatch",
        )
    model = build_model(config)
    state = _float32_state(path, content["state"])
    _check_state(path, state, model.state_dict())
    model.load_state_dict(state)
    meta = {**content["meta"], "preset": name, "version": content.get("version", "unknown")}
    meta["thresholds"] = _thresholds(path, meta.get("thresholds", {}))
    return model.to(device).eval(), meta


def _stored(tensor: Tensor, half: bool) -> Tensor:
    """A detached CPU copy, float16 when `half` and floating."""
    tensor = tensor.detach().cpu().contiguous().clone()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def _read(path: Path) -> dict:
    """The dictionary inside the file; refuses anything that is not plain data in torch's zip format."""
    if not path.is_file():
        raise InputError(f"there are no weights at {path}; give an existing checkpoint file", code="missing-weights")
    fault = InputError(
        f"{path} is not a DABSeg checkpoint or is damaged; pick other weights (nothing in it was run)",
        code="bad-checkpoint",
    )
    try:
        # torch's older tar and bare-pickle formats are refused before torch sees them: they had loading
        # holes even with weights_only (CVE-2025-32434), and a truncated zip file fails here as well.
        if not zipfile.is_zipfile(path):
            raise fault
        with path.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise InputError(f"{path} may not be read; change its permissions", code="unreadable") from error
    except InputError:
        raise
    except Exception as error:  # damaged bytes surface as half a dozen unrelated types, all meaning the same
        raise fault from error
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
    if content.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path} has checkpoint format {content.get('format_version')}, but this program reads "
            f"{FORMAT_VERSION}; update DABSeg or pick other weights",
            code="bad-checkpoint",
        )
    for key, ours in (("modalities", MODALITIES), ("regions", REGIONS)):
        theirs = content.get(key)
        if not isinstance(theirs, (list, tuple)) or tuple(theirs) != ours:
            raise InputError(
                f"the weights {path} were trained with {key} {theirs}, but this program feeds {list(ours)}; "
                "pick weights with the same order",
                code=f"{key}-mismatch",
            )
    for key in ("config", "meta", "state"):
        if not isinstance(content.get(key), dict):
            raise InputError(f"{path} lacks its section {key!r}; download or train it again", code="bad-checkpoint")


def _config(path: Path, fields: dict) -> ModelConfig:
    """The configuration, refused where a field is unknown or of the wrong kind."""
    try:
        return ModelConfig.from_dict(fields)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the configuration in {path} does not fit this program ({error}); update DABSeg or pick other weights",
            code="bad-checkpoint",
        ) from error


def _float32_state(path: Path, state: dict) -> dict[str, Tensor]:
    """Floating tensors as float32; anything that is no tensor, or not finite, is refused by name."""
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise InputError(f"the entry {name!r} in {path} is no tensor; pick other weights", code="bad-checkpoint")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(
                f"the weights {name!r} in {path} hold NaN or Inf; pick other weights", code="bad-checkpoint"
            )
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _check_state(path: Path, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Every weight is there once, with the shape the configuration asks for."""
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
