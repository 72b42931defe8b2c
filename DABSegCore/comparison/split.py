"""Split: which cases train, which ones choose weights and which ones are judged, the same for all methods."""

from __future__ import annotations

from pathlib import Path

from DABSegCore.cases import read_split, write_split
from DABSegCore.comparison.plan import Plan, Protocol
from DABSegCore.errors import InputError
from DABSegCore.progress import Progress
from DABSegCore.training.folder import PART_NAMED, Parts, read_folder
from DABSegCore.training.setup import SPLIT


def settle_split(plan: Plan, out: Path, progress: Progress) -> tuple[Path, str] | None:
    """Write the split of a comparison into its folder, or find it there.

    Args:
        plan: Says who is judged.
        out: Folder of the comparison.
        progress: Told what is left out of the data and why.

    Returns:
        The file, and the part of it that is judged; None for virtual patients alone.

    Raises:
        InputError: If the plan names cases that are not there, nothing is left for a part, or the folder holds a
            comparison with another split.
    """
    ours = plan.protocol
    if ours.data is None:
        return None
    parts = read_folder(ours.data, split=ours.split, validation=ours.validation, seed=ours.seed)
    for sentence in parts.skipped:
        progress.warn(sentence)
    split, part = _split(parts, ours)
    path = out / SPLIT
    if not path.is_file():
        write_split(path, split)
    elif read_split(path) != split:
        raise InputError(
            f"{out} holds a comparison on other cases, as {path} says; choose another --out, or give the data it is of",
            code="other-cases",
        )
    return path, part


def _split(parts: Parts, ours: Protocol) -> tuple[dict[str, list[str]], str]:
    """Cases by part, and the part that is judged."""
    split = parts.split()
    if ours.split is not None:
        part = PART_NAMED.get(ours.part.lower(), ours.part)
        if not split.get(part):
            have = ", ".join(f"{name} ({len(ids)})" for name, ids in split.items())
            raise InputError(f"{ours.split} has no case in a part {ours.part!r}, only {have}; correct part", "bad-plan")
        return split, part
    if not ours.choose:
        return split, "test" if split["test"] else "validation"
    absent = sorted(set(ours.choose) - set(split["train"]))
    learn = [name for name in split["train"] if name not in ours.choose]
    if absent or not learn:
        fact = f"names {absent[0]}, which is not among them" if absent else "leaves none of them to train on"
        raise InputError(
            f"{ours.data} has {len(split['train'])} cases that are not judged, but choose in [protocol] {fact}; "
            "correct it",
            code="bad-plan",
        )
    return {"train": learn, "validation": sorted(ours.choose), "test": split["validation"]}, "test"
