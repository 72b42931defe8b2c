"""Tiny: a network, weights and a patient small enough for tests of the whole way."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np
import torch

from DABSegCore.checkpoint import save_checkpoint
from DABSegCore.config import PRESETS, ModelConfig
from DABSegCore.labels import MODALITIES
from DABSegCore.models import build_model
from DABSegCore.networks import RMRConfig
from DABSegCore.phantom import virtual_patient
from DABSegCore.volume import Volume, write_volume

TINY = dataclasses.replace(
    PRESETS["small"],
    stem_width=4,
    stem_blocks=(0, 1),
    embed_dim=8,
    depths=(1, 1, 1),
    heads=(1, 1, 1),
    bottleneck_heads=1,
    decoder_dims=(16, 16, 16, 8),
    tail_width=8,
)
TINY_RMR = RMRConfig(
    "tiny-rmr",
    reads=(0, 3),
    width=4,
    features=4,
    patch=4,
    heads=1,
    depths=(1,),
    window=4,
    head="dynunet",
    head_width=8,
    head_levels=3,
)
ABSENT = ("scipy", "SimpleITK", "matplotlib", "tensorboard", "tyro", "monai", "nibabel")
"""What a bare machine lacks."""

SITE = """
import json, sys

class Finder:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {absent} else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Finder, sys.meta_path)
if small := {small}:
    from DABSegCore import config
    config.PRESETS["small"] = config.ModelConfig.from_dict(json.loads(small))
"""
"""Runs in a Python process before anything else; braces are for `str.format`."""

AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 1, -10], [0, 0, 0, 1]])


def tiny_network() -> torch.nn.Module:
    """`TINY` with random weights and a head that outlines something."""
    generator = torch.Generator().manual_seed(11)
    model = build_model(TINY).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def tiny_weights(path: Path, **meta: object) -> Path:
    save_checkpoint(path, tiny_network(), TINY, meta)
    return path


@cache
def tiny_patient(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, D, H, W] and label of a virtual patient at 5 mm, to be called 1 mm so that nothing is resampled.

    Made once, as it takes seconds, and so not to be written to.
    """
    patient = virtual_patient(seed, shape=(32, 48, 40), spacing_mm=5.0)
    for array in (patient.images, patient.label):
        array.flags.writeable = False
    return patient.images, patient.label


def write_case(folder: Path, case_id: str, images: np.ndarray, label: np.ndarray | None, affine: np.ndarray) -> Path:
    """A case folder with the file names of 2020."""
    folder.mkdir(parents=True, exist_ok=True)
    for modality, image in zip(MODALITIES, images, strict=True):
        write_volume(folder / f"{case_id}_{modality}.nii.gz", Volume(np.ascontiguousarray(image), affine))
    if label is not None:
        write_volume(folder / f"{case_id}_seg.nii.gz", Volume(np.ascontiguousarray(label), affine))
    return folder


def process_environment(
    folder: Path, *, absent: Collection[str] = (), small: ModelConfig | None = None
) -> dict[str, str]:
    """Environment for Python processes, and those they start, that differ from this one.

    Args:
        folder: Empty; takes the file that makes the difference.
        absent: Packages that cannot be imported there.
        small: What the preset `small` is there, to be quick.
    """
    words = "None" if small is None else repr(json.dumps(dataclasses.asdict(small)))
    (folder / "sitecustomize.py").write_text(SITE.format(absent=tuple(absent), small=words), encoding="utf-8")
    places = [str(folder), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}


def bare_environment(folder: Path, *, small: ModelConfig | None = None) -> dict[str, str]:
    """Environment of a machine that has torch and NumPy alone: processes cannot import what is in `ABSENT`."""
    return process_environment(folder, absent=ABSENT, small=small)
