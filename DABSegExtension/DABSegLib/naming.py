"""Naming: which modality a volume is, and which case it belongs to, as far as its name tells.

Both families of BraTS endings are known, and the words people and scanners use. A guess is only a start that the user
sees and can change, so a doubtful name is left out rather than put in the wrong place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from DABSegCore.cases import ENDING, ENDINGS
from DABSegCore.labels import MODALITIES
from DABSegCore.volume import SUFFIXES

TITLES = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR"}
"""What a modality is called on screen."""

T1 = re.compile(r"t1(w|wi|n|se|tse|fse|fs|flair|mprage|spgr|bravo)?|mprage|f?spgr|bravo")
T1CE = re.compile(r"t1w?(c|ce|gd|gad|km|post|contrast)")
T2 = re.compile(r"t2(w|wi|fs|tse|fse|space|blade|propeller)?")
FLAIR = re.compile(r"t2f|(t2)?flair(w|fs|space)?|darkfluid")

CONTRAST = {"ce", "gd", "gad", "gado", "gadolinium", "post", "postcontrast", "contrast", "enhanced", "km", "cm"}
"""Beside T1 they say that a contrast agent was given (Kontrastmittel is German); so does a "c" right after it."""

NO_CONTRAST = {"no", "non", "not", "without", "wo", "pre", "precontrast", "native", "nativ", "ohne", "un"}
REGISTERED = {"to", "onto", "in", "on"}
"""After them comes the image it was brought onto: "FLAIR to T1" is FLAIR."""

NEVER = {
    *("adc", "dwi", "swi", "star", "t2star", "map", "perf", "perfusion", "subtraction", "subtracted"),  # other images
    *("seg", "segmentation", "label", "labels", "mask", "tumor", "tumour", "roi"),  # no images
    *("pseudo", "pseudoclear", "synthetic", "difference", "diff", "fused", "uncertainty"),  # made by some network
}
LAST_CHOICE = {"motion", "blurred"}
"""Taken where nothing else is there: blurred files opened from a disk are what this module is for."""


class _Name(NamedTuple):
    """What a volume's name says."""

    node_id: str
    modality: str
    case: str | None
    blurred: bool


def guess(names: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The most likely volume for each modality.

    Names that end as in BraTS (`case_t1ce`, `case-t1c`) also tell the case. Of several cases the one with the most
    modalities is taken, of equal ones that loaded last, and volumes of two cases are never mixed. A place that is
    then still empty is filled by the last loaded name without a case. Each volume is used once.

    Args:
        names: (node id, node name) of the volumes, first loaded first. The caller leaves out what this module made,
            which carries the attribute `DABSeg.Kind`; names that say so are left out too, but for motion, which is
            taken where a modality has nothing else.

    Returns:
        Modality -> node id; what cannot be told is missing.
    """
    read = [name for node_id, text in names if (name := _read(node_id, text)) is not None]
    modalities_of: dict[str, set[str]] = {}
    for name in read:
        if name.case is not None:
            modalities_of[name.case] = modalities_of.pop(name.case, set()) | {name.modality}  # last loaded is last
    best = max(reversed(modalities_of), key=lambda case: len(modalities_of[case]), default=None)
    rank = {name: (name.case == best, not name.blurred, index) for index, name in enumerate(read)}
    found: dict[str, str] = {}
    for modality in MODALITIES:
        fitting = [name for name in read if name.modality == modality and name.case in (None, best)]
        if fitting:
            found[modality] = max(fitting, key=rank.__getitem__).node_id
    return found


def modality_of(text: str) -> str | None:
    """The modality a name tells, or None where it tells none or more than one.

    Contrast comes before plain T1, and FLAIR before T2, as each of these names may hold the other.
    """
    words = _words(text)
    cut = next((i for i, word in enumerate(words) if i and word in REGISTERED), len(words))
    words = words[:cut]
    if NEVER & set(words):
        return None
    kinds = {word: kind for word in words if (kind := _kind(word))}
    found = set(kinds.values())
    if "flair" in found and not found & {"t1", "t1ce"}:
        return "flair"
    if found == {"flair", "t1"} and "t1 flair" in " ".join(words):  # an inversion recovery weighted by T1
        found = {"t1"}
    if found == {"t1"} and _with_contrast(words):
        return "t1ce"
    if found == {"t1", "t1ce"}:
        return "t1ce"
    return found.pop() if len(found) == 1 else None


def case_name(names: Mapping[str, str]) -> str:
    """What the four names share before their endings, fit to name a file; "case" where they share nothing.

    Args:
        names: Modality -> node name.
    """
    cases = {_case(text) for text in names.values()}
    if len(cases) == 1 and None not in cases:
        return _as_file_name(str(cases.pop()))
    texts = [_plain(text) for text in names.values()]
    shared = os.path.commonprefix(texts)
    if any(text[len(shared) : len(shared) + 1].isalnum() for text in texts):  # it ends within a word
        shared = re.sub(r"[^\W_]+$", "", shared)
    return _as_file_name(shared)


def _read(node_id: str, text: str) -> _Name | None:
    """What a name says, or None if it names no modality."""
    modality = modality_of(text)
    if modality is None:
        return None
    return _Name(node_id, modality, _case(text), bool(LAST_CHOICE & set(_words(text))))


def _plain(text: str) -> str:
    """A node's name without what Slicer adds: a series number before it, "_1" after it; nor a file's suffix."""
    text = re.sub(r"^\d+:\s*", "", text.strip())
    text = re.sub(r"_\d+$", "", text)
    for suffix in SUFFIXES:
        if text.lower().endswith(suffix):
            text = text[: -len(suffix)]
    return text


def _case(text: str) -> str | None:
    """The case a name with a BraTS ending tells, or None if there is no such ending or nothing before it."""
    match = ENDING.match(re.sub(r"_(motion|blurred)$", "", _plain(text), flags=re.IGNORECASE))
    return (match["case"] or None) if match else None


def _words(text: str) -> list[str]:
    """The words of a name in lower case: letters and digits in a row; "+C" and "T2*" are told in letters."""
    text = _plain(text).lower().replace("t2*", "t2 star ").replace("w/o", " without ")
    text = re.sub(r"\+\s*(c|gd|km)\b", " contrast ", text)
    return re.findall(r"[^\W_]+", re.sub(r"dark[\s_-]*fluid", "darkfluid", text))


def _kind(word: str) -> str | None:
    """The modality of a single word."""
    if word in ENDINGS:
        return ENDINGS[word]
    patterns = {"t1ce": T1CE, "t1": T1, "flair": FLAIR, "t2": T2}
    return next((kind for kind, pattern in patterns.items() if pattern.fullmatch(word)), None)


def _with_contrast(words: Sequence[str]) -> bool:
    """Whether the words beside T1 say that a contrast agent was given; "post op" does not."""
    after_t1 = {word for before, word in zip(words, words[1:], strict=False) if _kind(before) == "t1"}
    told = {
        word
        for word, after in zip(words, [*words[1:], ""], strict=True)
        if word in CONTRAST and not (word == "post" and re.match(r"op|surg|rt|rad|treat", after))
    }
    return bool(told or "c" in after_t1) and not NO_CONTRAST & set(words)


def _as_file_name(text: str) -> str:
    """Letters, digits, dots and dashes only."""
    return re.sub(r"[^\w.-]+", "_", text)[:60].strip("._-") or "case"
