"""Published weights: checkpoints of the released DABSeg and CKD-TransBTS code, read into preset `paper`.

The released code keeps one module per modality; ours holds the four as one grouped or stacked tensor. The map below says,
for each of our tensors, which of theirs it is made of. Two kinds of entries have no place here and are passed
over: index buffers, which are arithmetic, and the cross-attention in the first block of every stage, which the
released code builds but never runs (54 tensors, 235,340 of its 82,293,823 parameters).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from DABSegCore.config import PAPER
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.models import build_model
from DABSegCore.models.dabseg import DABSeg

SPELLINGS = (("fdmds.", "dami."), ("deblur_stem.", "ckd."), (None, ""))
"""Names of stem and trunk: in the released code, in its authors' training code, in CKD-TransBTS (no stem)."""

PASSED_OVER = re.compile(r"relative_position_index$|encoder\.layers\.\d\.blocks\.0\.cross_attn_")

Layout = Literal["rows", "stack", "linear", "table"]


class Entry(NamedTuple):
    """One of our tensors, the published ones it is made of, and how those lie in it."""

    ours: str
    theirs: tuple[str, ...]
    layout: Layout = "rows"
    """`rows`: one after the other along axis 0. `stack`: so, under an extra leading axis. `linear`: rows of a
    1x1x1 convolution that they write as a linear layer. `table`: along axis 1, the heads of a position table."""


def load_published(path: str | Path, model: DABSeg | None = None) -> DABSeg:
    """Read a published checkpoint.

    Args:
        path: File of `torch.save`: a state dict, bare or under "state_dict" or "model", its names with or without
            `module.` in front. A file of CKD-TransBTS holds the trunk alone; the stem then stays as it is, and
            that of a fresh network returns its input.
        model: Network of preset `paper` to fill in place; None builds one.

    Returns:
        The network, in the mode and on the device it had (new: evaluation mode, CPU).

    Raises:
        InputError: If the file is absent, not a plain state dict, or does not fit name by name and shape by
            shape; the network is then untouched.
    """
    state = _read(Path(path))
    if model is None:
        model = build_model(PAPER).eval()
    fill(model, state, str(path))
    return model


@torch.no_grad()
def fill(model: DABSeg, state: Mapping[str, Tensor], source: str = "the given weights") -> None:
    """Fill a network of preset `paper` with a published state dict, or raise `InputError` and leave it be.

    Args:
        model: Network to fill in place.
        state: Published names to tensors of any floating type.
        source: What to call the state in messages.
    """
    stem, trunk = _spelling(state, source)
    entries = [
        _respelled(entry, stem, trunk) for entry in _entries() if stem or not entry.ours.startswith("stem.")
    ]
    own = model.state_dict()
    unmatched = {name for name in own if stem or not name.startswith("stem.")} ^ {
        entry.ours for entry in entries
    }
    if unmatched:
        raise InputError(
            f"published weights fit preset 'paper' only, and this network differs in {_some(unmatched)}; build that preset",
            code="preset-mismatch",
        )
    wanted = {name for entry in entries for name in entry.theirs}
    _refuse(wanted - set(state), "lacks", source)
    _refuse(
        (name for name in state if name not in wanted and not PASSED_OVER.search(name)),
        "has unexpected",
        source,
    )
    slots = {name: slot for entry in entries for name, slot in _slots(entry, own[entry.ours])}
    _refuse(
        (name for name, slot in slots.items() if not _fits(state[name], slot)), "has wrong shapes for", source
    )
    for name, slot in slots.items():
        slot.copy_(state[name].T if name.endswith("bias_table") else state[name])
