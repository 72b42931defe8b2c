"""Tiny: a network, weights and a patient small enough for tests of the whole way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from DABSegCore.checkpoint import save_checkpoint
from DABSegCore.config import PRESETS
from DABSegCore.labels import MODALITIES
from DABSegCore.models import build_model
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


def tiny_patient(seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, D, H, W] and label of a virtual patient at 5 mm, to be called 1 mm so that nothing is resampled."""
    patient = virtual_patient(seed, shape=(32, 48, 40), spacing_mm=5.0)
    return patient.images, patient.label


def write_case(folder: Path, case_id: str, images: np.ndarray, label: np.ndarray | None, affine: np.ndarray) -> Path:
    """A case folder with the file names of 2020."""
    folder.mkdir(parents=True, exist_ok=True)
    for modality, image in zip(MODALITIES, images, strict=True):
        write_volume(folder / f"{case_id}_{modality}.nii.gz", Volume(np.ascontiguousarray(image), affine))
    if label is not None:
        write_volume(folder / f"{case_id}_seg.nii.gz", Volume(np.ascontiguousarray(label), affine))
    return folder
