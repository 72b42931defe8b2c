"""HTML: the report of an evaluation as one file that any browser opens without network, to be read or printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DABSegCore.evaluation import sections
from DABSegCore.evaluation.figures import draw_figures, kinds_of, of_kind, write_figures
from DABSegCore.evaluation.page import Markup, bullets, document, element, facts, markup, picture, table
from DABSegCore.evaluation.panels import panel_path, pick_cases
from DABSegCore.evaluation.records import level_name
from DABSegCore.evaluation.theme import DARK
from DABSegCore.evaluation.words import (
    GIVEN_WORDS,
    IMAGE_WORDS,
    REGION_WORDS,
    SEVERITY_WORDS,
    STATISTICS_WORDS,
    empty_rules,
    metric_words,
    shown_path,
)
from DABSegCore.files import read_bytes, write_bytes
from DABSegCore.report import NOTICE

if TYPE_CHECKING:
    from DABSegCore.evaluation.results import Evaluation

REPORT = "report.html"

Meta = Mapping[str, Any]
"""`evaluation.json`; what it lacks is left out of the report."""

_TITLE = "DABSeg evaluation"


def build(evaluation: Evaluation, out: Path) -> Path:
    """Write the figures and the report of an evaluation.

    Args:
        evaluation: What was found.
        out: Its folder, in which pictures of cases may lie (`panels.write_panel`).

    Returns:
        The path of `report.html`.

    Raises:
        InputError: If something cannot be written.
    """
    light = write_figures(evaluation, out)
    kinds = kinds_of(evaluation.rows)
    parts = [_head(evaluation.meta, kinds)]
    parts += [sections.lead(of_kind(evaluation, kind)) for kind in kinds]
    parts += [_problems(evaluation.meta), _run(evaluation.meta)]
    parts += [_results(of_kind(evaluation, kind), light[kind]) for kind in kinds]
    parts += [_cases(evaluation, out), _definitions(evaluation.meta), _repeat(evaluation.meta)]
    path = out / REPORT
    write_bytes(path, document(_TITLE, parts).encode())
    return path


def _head(meta: Meta, kinds: Sequence[str]) -> Markup:
    """Title, date and what it may be used for."""
    weights = meta.get("weights") or {}
    what = meta.get("predictions") or (weights.get("path") and Path(weights["path"]).name) or ""
    when = str(meta.get("created", "")).replace("T", " ").replace("+00:00", " UTC")
    said = [element("p", NOTICE)]
    if "virtual" in kinds:
        said.append(element("p", "Virtual patients are procedural: they test software, they do not replace data."))
    return markup(
        element("h1", f"{_TITLE}: {what}" if what else _TITLE),
        element("p", when, cls="faint"),
        element("div", *said, cls="box"),
        "" if kinds else element("p", "Nothing could be evaluated.", cls="lead"),
    )


def _problems(meta: Meta) -> Markup:
    """What failed and what was warned of: they belong before the numbers."""
    failures = [
        f"{f['case_id']}{'' if f['severity'] is None else ', ' + level_name(f['severity'])}: {f['message']}"
        for f in meta.get("failures", ())
    ]
    parts: list[str] = []
    if failures:
        words = f"{len(failures)} failure{'s' if len(failures) > 1 else ''}, left out of all numbers:"
        parts += [element("p", element("b", words)), bullets(failures)]
    if meta.get("warnings"):
        parts += [element("p", element("b", "Warnings:")), bullets(meta["warnings"])]
    return element("div", *parts, cls="box") if parts else element("p", "No failures, no warnings.", cls="faint")


def _run(meta: Meta) -> Markup:
    """What was evaluated, by what, and where."""
    weights, seconds = meta.get("weights") or {}, meta.get("seconds") or {}
    counts = meta.get("cases") or {}
    versions = {"DABSeg": "version", "torch": "torch", "Python": "python", "": "system"}
    names = [str(meta.get("device", "")), str(meta.get("device_name", ""))]
    several = f"{meta['processes']} processes" if meta.get("processes", 1) > 1 else ""
    split = shown_path(meta.get("split"))
    rows = {
        "cases": ", ".join(sections.counted(n, kind) for kind, n in counts.items() if n),
        "data": shown_path(meta.get("data")),
        "split": " of ".join(filter(None, (meta.get("part"), split))) if split else "",
        "severities": ", ".join(map(level_name, meta.get("severities", ()))),
        "predictions": shown_path(meta.get("predictions")),
        "weights": shown_path(weights.get("path")),
        "SHA-256 of them": str(weights.get("sha256", "")),
        "options": ", ".join(f"{key} {_option(value)}" for key, value in _options(meta).items()),
        "device": ", ".join(dict.fromkeys(filter(None, [*names, several]))),
        "versions": ", ".join(f"{key} {meta[name]}".strip() for key, name in versions.items() if name in meta),
        "seconds per case and severity": ", ".join(f"{stage} {value:.2f}" for stage, value in seconds.items())
        + (f"; {sum(seconds.values()):.1f} in all" if len(seconds) > 1 else ""),
    }
    return markup(element("h2", "What was run"), facts(rows))


def _results(part: Evaluation, light: Mapping[str, bytes]) -> Markup:
    """Everything about one kind of cases."""
    dark = draw_figures(part, DARK)
    name = sections.KIND_WORDS[part.rows[0]["kind"]]
    parts = [element("h2", f"Results: {name}"), sections.segmentation(part)]
    if light:
        parts += [sections.figures(light, dark), sections.restoring(part, light.get("gain"), dark.get("gain"))]
    else:
        cure = "There are no figures, as matplotlib is not installed (pip install matplotlib) or there is but one case."
        parts += [element("p", cure, cls="faint"), sections.restoring(part, None, None)]
    return markup(*parts, sections.more_metrics(part), sections.lowest(part))


def _cases(evaluation: Evaluation, out: Path) -> Markup:
    """Pictures of the best, the median and the worst case."""
    shown = [
        picture(sections.panel_words(pick), read_bytes(path), caption=sections.panel_words(pick))
        for pick in pick_cases(evaluation.rows)
        if (path := panel_path(out, pick.role)).is_file()
    ]
    words = "Chosen by rule, not by eye: by the mean Dice of the three regions. The slice is the one with the largest "
    words += "enhancing tumour of the reference (tumour core, or whole tumour, where it has none)."
    return markup(element("h2", "Cases"), element("p", words), *shown) if shown else Markup()


def _definitions(meta: Meta) -> Markup:
    """What every number is."""
    options = _options(meta)
    penalty = options.get("penalty_mm")
    of_masks = {
        **metric_words(options.get("tolerance_mm"), penalty),
        **(IMAGE_WORDS if meta.get("weights") else {}),
        **STATISTICS_WORDS,
    }
    heads = ["", "neither found nor there", "there, not found", "found, not there"]
    rules = {metric: [cells] for metric, cells in empty_rules(penalty).items()}
    return markup(
        element("h2", "Definitions"),
        facts(REGION_WORDS),
        facts(SEVERITY_WORDS if meta.get("weights") else GIVEN_WORDS),
        facts(of_masks),
        element("h3", "Where a mask is empty"),
        table(heads, rules),
    )


def _repeat(meta: Meta) -> Markup:
    """The command, and what lies beside the report."""
    if not meta.get("command"):
        return Markup()
    words = "Motion, virtual patients and intervals come from fixed seeds, so the same command on the same files and "
    words += "weights gives the same numbers, but for the last digits where hardware adds in another order. Every "
    words += "number is in cases.csv, images.csv and summary.csv beside this file, every hash in records/."
    return markup(element("h2", "Repeat it"), element("pre", meta["command"]), element("p", words))


def _options(meta: Meta) -> dict[str, Any]:
    """Options that decide the numbers, but for the weights, which have a line of their own."""
    return {key: value for key, value in (meta.get("method") or {}).items() if key not in ("weights", "predictions")}


def _option(value: Any) -> str:
    return (
        {None: "as trained", True: "yes", False: "no"}.get(value, f"{value}") if not _is_number(value) else f"{value:g}"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
