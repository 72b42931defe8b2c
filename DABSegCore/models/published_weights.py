"""Published weights: checkpoints of the released DABSeg and CKD-TransBTS code, read into preset `paper`.

The released code keeps one module per modality; ours holds the four as one grouped or stacked tensor. The map
below says, for each of our tensors, which of theirs it is made of. Two kinds of entries have no place here
and are passed over: index buffers, which are arithmetic, and the cross-attention in the first block of a
stage, which the released code builds but never runs (54 tensors, 235,340 of its 82,293,823 parameters).
"""

from __future__ import annotations

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
from DABSegCore.models.weights_file import is_plain, read_weights_file

SPELLINGS = (("fdmds.", "dami."), ("deblur_stem.", "ckd."), (None, ""))
"""Names of stem and trunk: in the released code, in its authors' training code, in CKD-TransBTS (no stem)."""

PASSED_OVER = re.compile(r"relative_position_index$|encoder\.layers\.\d\.blocks\.0\.cross_attn_[12]\.")

Layout = Literal["rows", "stack", "linear", "table"]


class Entry(NamedTuple):
    """One of our tensors, the published ones it is made of, and how those lie in it."""

    ours: str
    theirs: tuple[str, ...]
    layout: Layout = "rows"
    """`rows`: one after the other along axis 0. `stack`: so, under an extra leading axis. `linear`: rows of a
    1x1x1 convolution, a linear layer with them. `table`: along axis 1, the heads of position tables."""


def load_published(path: str | Path, model: DABSeg | None = None) -> DABSeg:
    """Read a published checkpoint.

    Args:
        path: File of `torch.save`: a state dict, bare or under "state_dict" or "model", its names with or
            without `module.` in front. A file of CKD-TransBTS holds the trunk alone; the stem stays
            as it is, and that of a fresh network returns its input.
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
def fill(model: DABSeg, state: Mapping[str, Tensor], source: str = "the given state") -> None:
    """Fill a network of preset `paper` from a published state dict, wholly or not at all.

    Args:
        model: Network to fill in place.
        state: Published names to tensors; floating ones may be of any precision.
        source: What to call the state in messages.

    Raises:
        InputError: As `load_published`.
    """
    stem, trunk = _spelling(state, source)
    own = model.state_dict()
    entries = list(key_map(stem or "", trunk))
    if own.keys() ^ {entry.ours for entry in entries}:
        raise InputError(
            f"{source} holds published weights, which fit preset 'paper' only; build that preset for them",
            code="preset-mismatch",
        )
    if stem is None:
        entries = [entry for entry in entries if not entry.ours.startswith("stem.")]
    slots = {name: slot for entry in entries for name, slot in _slots(entry, own[entry.ours])}
    _refuse(f"{source} lacks", (name for name in slots if name not in state))
    surplus = (name for name in state if name not in slots and not PASSED_OVER.search(name))
    _refuse(f"{source} holds what the published network does not have:", surplus)
    _refuse(f"{source} holds in other shapes", (name for name in slots if not _fits(state[name], slots[name])))
    for name, slot in slots.items():
        slot.copy_(state[name])


def _slots(entry: Entry, ours: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Each published name of an entry with the view into our tensor where it belongs."""
    if entry.layout == "stack":
        ours = ours.view(-1, *ours.shape[2:])
    elif entry.layout == "linear" and ours.ndim == 5:
        ours = ours[..., 0, 0, 0]
    if len(entry.theirs) == 1:
        return zip(entry.theirs, [ours], strict=True)
    parts = ours.chunk(len(entry.theirs), dim=1 if entry.layout == "table" else 0)
    return zip(entry.theirs, parts, strict=True)


def _fits(value: object, slot: Tensor) -> bool:
    return is_plain(value) and value.shape == slot.shape


def _refuse(fact: str, names: Iterable[str]) -> None:
    """Raise if there are names to complain of, showing how many and the first few."""
    names = list(names)
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise InputError(
            f"{fact} {len(names)} tensor{'s' * (len(names) > 1)} ({shown}), but names and shapes must all match; "
            "use an unaltered checkpoint of the released DABSeg or CKD-TransBTS",
            code="published-weights-mismatch",
        )


def _read(path: Path) -> dict[str, Tensor]:
    """State dict of a file, unwrapped, without `module.`."""
    fault = InputError(
        f"{path} is no PyTorch file of plain tensors, or is damaged (nothing in it was run); save its state dict "
        "alone with a current PyTorch",
        code="bad-weights-file",
    )
    content = read_weights_file(path, fault)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise fault
    return {name.removeprefix("module."): value for name, value in content.items()}


def _spelling(state: Mapping[str, Tensor], source: str) -> tuple[str | None, str]:
    """Which of `SPELLINGS` a state uses, told by its encoder."""
    for stem, trunk in SPELLINGS:
        if any(name.startswith(f"{trunk}encoder.") for name in state):
            return stem, trunk
    raise InputError(
        f"{source} holds no published DABSeg or CKD-TransBTS weights (no name starts with 'dami.encoder.', "
        "'ckd.encoder.' or 'encoder.'); pick another file",
        code="published-weights-mismatch",
    )


# The map. Every helper takes our name of a part and the published names of the modules it is made of.


def key_map(stem: str = "fdmds.", trunk: str = "dami.") -> Iterator[Entry]:
    """An entry for every tensor of preset `paper`, with the published names under these prefixes."""
    for i in (1, 2):
        yield Entry(f"stem.conv{i}.weight", (f"{stem}conv{i}.conv.weight",))
        yield from _pair(f"stem.norm{i}", [f"{stem}conv{i}.norm"])
    yield from _pair("stem.conv3", [f"{stem}conv3"])
    yield from _encoder(f"{trunk}encoder")
    yield from _decoder(f"{trunk}decoder")


def _pair(ours: str, theirs: Iterable[str], layout: Layout = "rows") -> Iterator[Entry]:
    """Weight and bias."""
    names = list(theirs)
    for leaf in ("weight", "bias"):
        yield Entry(f"{ours}.{leaf}", tuple(f"{name}.{leaf}" for name in names), layout)


def _conv_unit(ours: str, theirs: Iterable[str]) -> Iterator[Entry]:
    """Bias-free convolution and its norm."""
    names = list(theirs)
    yield Entry(f"{ours}.0.weight", tuple(f"{name}.conv.weight" for name in names))
    yield from _pair(f"{ours}.1", [f"{name}.norm" for name in names])


def _encoder(theirs: str) -> Iterator[Entry]:
    stems = [f"{theirs}.patch_embed_{m}" for m in MODALITIES]
    for part, name in (("main.0", "conv1"), ("main.1", "conv2"), ("shortcut", "residual")):
        yield from _conv_unit(f"encoder.stem.{part}", [f"{stem}.proj.conv1.{name}" for stem in stems])
    yield Entry("encoder.stem.reduce.weight", tuple(f"{stem}.proj.conv2.weight" for stem in stems))
    yield from _pair("encoder.stem.norm", [f"{stem}.norm" for stem in stems], "stack")
    for i, depth in enumerate(PAPER.depths):
        for k in range(depth):
            at = f"{theirs}.layers.{i}.blocks.{k}"
            names = [[f"{at}.{part.format(m)}" for m in MODALITIES] for part in STAGE_BLOCK]
            yield from _block(f"encoder.stages.{i}.blocks.{k}", *names)
        yield from _pair_attention(f"encoder.stages.{i}.blocks.{depth - 1}.pair_attention", at)
        yield from _pair(f"encoder.stages.{i}.merge.norm", [f"{theirs}.layers.{i}.downsample.norm"], "stack")
        yield from _pair(f"encoder.stages.{i}.merge.reduce", [f"{theirs}.layers.{i}.downsample.reduction"])
    for k in range(PAPER.bottleneck_depth):
        names = [[f"{theirs}.bottleneck.{k}.{part}"] for part in BOTTLENECK_BLOCK]
        yield from _block(f"encoder.bottleneck.{k}", *names)
    yield from _pair("encoder.norm", [f"{theirs}.norm"], "stack")


STAGE_BLOCK = ("norm_{}_1", "self_attn_{}", "norm_{}_2", "mlp_{}")
BOTTLENECK_BLOCK = ("norm_1", "self_attn_x", "norm_2", "mlp")


def _block(ours: str, norms1: list[str], attentions: list[str], norms2: list[str], mlps: list[str]) -> Iterator[Entry]:
    """The four parts of a block, each over all streams."""
    yield from _pair(f"{ours}.norm1", norms1, "stack")
    yield from _pair(f"{ours}.norm2", norms2, "stack")
    for part in ("qkv", "proj"):
        yield from _pair(f"{ours}.attention.{part}", [f"{name}.{part}" for name in attentions], "linear")
    yield _table(f"{ours}.attention", attentions)
    for part, name in (("mix.0", "expand_proj"), ("mix.1", "depthwise"), ("project", "pointwise")):
        yield from _conv_unit(f"{ours}.mlp.{part}", [f"{mlp}.{name}" for mlp in mlps])
    for part, i in (("reduce", 0), ("expand", 2)):
        yield from _pair(f"{ours}.mlp.excite.{part}", [f"{mlp}.se.excitation.{i}" for mlp in mlps])


def _pair_attention(ours: str, block: str) -> Iterator[Entry]:
    """The two cross attentions (1: T1 and T1ce, 2: T2 and FLAIR) of a stage's last block."""
    pairs = [f"{block}.cross_attn_{i}" for i in (1, 2)]
    for part, roles in (("qkv", ("query", "key", "value")), ("proj", ("proj",))):
        for leaf in ("weight", "bias"):
            names = tuple(f"{pair}.{role}.{leaf}" for pair in pairs for role in roles)
            yield Entry(f"{ours}.{part}_{leaf}", names, "stack")
    yield _table(ours, pairs)


def _table(ours: str, theirs: Iterable[str]) -> Entry:
    """Position bias, one column per head."""
    return Entry(f"{ours}.bias.table", tuple(f"{name}.relative_position_bias_table" for name in theirs), "table")


def _decoder(theirs: str) -> Iterator[Entry]:
    """Our levels count from the bottleneck up, theirs down to 1; our level holds the step up into it."""
    ups = [f"{theirs}.decoder5_upsampler.block"]
    ups += [f"{theirs}.decoder{level}_upsampler.2.block" for level in (4, 3, 2, 1)]
    for i, level in enumerate((4, 3, 2, 1)):
        yield from _pair(f"decoder.levels.{i}.up", [ups[i]])
        yield from _double_conv(f"decoder.levels.{i}.convs", f"{theirs}.decoder{level}_upsampler")
        if level > 1:
            yield from _gate(f"decoder.levels.{i}.gate", f"{theirs}.cca{level}")
    yield from _pair("decoder.tail.up", [ups[-1]])
    yield from _double_conv("decoder.tail.image", f"{theirs}.decoder_0")
    yield from _double_conv("decoder.tail.convs", f"{theirs}.seg_head")
    yield from _pair("decoder.tail.head", [f"{theirs}.seg_head.2.block"])


def _double_conv(ours: str, theirs: str) -> Iterator[Entry]:
    """Two convolutions with bias and norm."""
    for i in (0, 1):
        yield from _pair(f"{ours}.{i}.0", [f"{theirs}.{i}.block.0.block"])
        yield from _pair(f"{ours}.{i}.1", [f"{theirs}.{i}.block.1"])


def _gate(ours: str, theirs: str) -> Iterator[Entry]:
    """Skip gate: their first squeeze reads the decoder, their second the skip."""
    for part, i in (("squeeze_decoder", 1), ("squeeze_skip", 2)):
        yield from _pair(f"{ours}.{part}.0", [f"{theirs}.conv{i}"])
        yield from _pair(f"{ours}.{part}.1", [f"{theirs}.bn{i}"])
        for leaf in ("running_mean", "running_var", "num_batches_tracked"):
            yield Entry(f"{ours}.{part}.1.{leaf}", (f"{theirs}.bn{i}.{leaf}",))
    for i, axis in enumerate("dhw"):
        yield from _pair(f"{ours}.excite.{i}", [f"{theirs}.conv_{axis}"])
