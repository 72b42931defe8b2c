"""Pipeline: from the four volumes of one case to its segmentation, pseudo-clear volumes, picture and report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from DABSegCore import quality
from DABSegCore import report as reports
from DABSegCore.cases import Case, load_case
from DABSegCore.checkpoint import load_checkpoint
from DABSegCore.errors import InputError
from DABSegCore.figure import case_panel
from DABSegCore.files import at_once, sha256
from DABSegCore.inference import OVERLAP, Inferred, infer
from DABSegCore.labels import MODALITIES, REGIONS, labels_from_regions, regions_from_labels
from DABSegCore.part import Part, keep, part_of, place
from DABSegCore.preprocess import Prepared, prepare
from DABSegCore.progress import Progress
from DABSegCore.results import digests, own_file, staging
from DABSegCore.volume import FORMATS, Volume, write_png, write_volume


@dataclass(frozen=True)
class Options:
    """The choices that change what is written; a case done with other choices is done again."""

    reference: str = "t1ce"
    """Modality whose grid the results are on."""
    tta: bool = False
    """Average over the eight mirror images."""
    window: int | None = None
    """Window edge in voxels. None: the patch size the weights were trained on, where they name it (`meta["window"]`):
    norms and gates see a whole volume otherwise than a patch. 0: the whole volume at once where memory allows."""
    overlap: float = OVERLAP
    """Least share of a window that its neighbour covers again; less is quicker and a little less accurate."""
    autocast: str = "auto"
    """Number format of the heavy operations: auto, off (float32), bfloat16 or float16."""
    save_probabilities: bool = False
    save_regions: bool = False
    save_extras: bool | Literal["if-any"] = False
    """Write what only some networks give: uncertainty of the regions, a volume fused of several modalities. "if-any":
    the same, and no warning from a network that gives none."""
    restored: bool = True
    """Write the pseudo-clear volumes."""
    picture: bool = True
    """Write a picture of the case."""
    stability: bool = False
    """Segment the pseudo-clear volumes, too, and compare: twice the network's time."""
    format: str = FORMATS[0]
    """What the volumes are written as, one of `FORMATS`."""
    box: tuple[int, ...] | None = None
    """D0, D1, H0, H1, W0, W1 in voxels of the reference (half-open): the network looks only there. None: everywhere."""

    def plain(self) -> dict[str, Any]:
        """The same in JSON's types."""
        return {**asdict(self), "box": self.box and list(self.box)}


@dataclass(frozen=True)
class Engine:
    """What stays the same from case to case."""

    model: nn.Module
    meta: dict[str, Any]
    weights: dict[str, str]
    """Path, SHA-256, preset and version of the weights."""
    device: torch.device
    progress: Progress


@dataclass
class Notebook:
    """What is noted while a case runs: seconds per stage and warnings."""

    progress: Progress
    timings_s: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, announce: bool = True) -> Iterator[None]:
        """Take the time of a stage, and announce it unless it announces itself."""
        if announce:
            self.progress.stage(name)
        start = time.perf_counter()
        yield
        self.timings_s[name] = round(time.perf_counter() - start, 3)

    def warn(self, text: str) -> None:
        """Tell the user now, and the reader of the report later."""
        self.warnings.append(text)
        self.progress.warn(text)


@dataclass(frozen=True)
class Result:
    """What the network made of a case, on the reference's grid where nothing else is said."""

    label: np.ndarray
    """Label map, uint8 [D, H, W]."""
    probabilities: np.ndarray
    """Region probabilities, float32 [R, D, H, W]."""
    pseudo_clear: np.ndarray
    """Restored volumes in the inputs' own intensity units, float32 [M, D, H, W]."""
    working: np.ndarray
    """Restored volumes on the working grid, as of [0, 1], float32 [M, d, h, w]."""
    extras: dict[str, np.ndarray]
    """What only some networks give: uncertainty by region [R, D, H, W], a fused volume as of [0, 1] [1, D, H, W]."""


def load_engine(weights: Path, device: torch.device, progress: Progress, preset: str | None = None) -> Engine:
    """Network of a checkpoint; `preset` refuses any other.

    Raises:
        InputError: If the weights are absent, damaged, of another preset, or outline nothing.
    """
    progress.stage("weights")
    model, meta = load_checkpoint(weights, expect_preset=preset)
    if not model.outlines:
        raise InputError(
            f"the weights {weights} ({meta['preset']}) restore images and outline nothing; train a segmenter behind "
            f"them by train --restorer {weights}, or pick other weights",
            code="outlines-nothing",
        )
    facts = {"path": str(weights), "sha256": sha256(weights), "preset": meta["preset"], "version": meta["version"]}
    return Engine(model, meta, facts, device, progress)


def segment_case(
    case: Case, engine: Engine, out: Path, options: Options, *, overwrite: bool = False, seed: int = 0
) -> tuple[dict[str, Any], str]:
    """Segment one case and write its results.

    Args:
        case: Its files.
        engine: Network, device and progress.
        out: Folder for the results, made when absent.
        options: What to write, and how.
        overwrite: Do a case again that is done.
        seed: For the record: nothing here is left to chance.

    Returns:
        The report, and "done" or "skipped" (the results were already there).

    Raises:
        InputError: If the case is bad, the folder holds another case of that name or its images, or the results
            cannot be written; none of them is left behind then.
    """
    _refuse_own_folder(case, out)
    restores = engine.model.restores
    unmet = options.restored and not restores
    options = replace(options, restored=options.restored and restores)
    facts = reports.identity(case, engine.weights, options.plain())
    earlier = reports.read_report(reports.report_path(out, case.case_id))
    if not overwrite and reports.is_done(earlier, facts, out):
        return earlier, "skipped"
    if not overwrite:
        reports.refuse_another_case(earlier, facts, reports.report_path(out, case.case_id))

    notes = Notebook(engine.progress)
    if unmet or (options.stability and not restores):
        notes.warn(f"{engine.weights['preset']} restores nothing, so there are no pseudo-clear volumes")
    with notes.stage("read"):
        loaded = load_case(case, reference=options.reference, on_warning=notes.warn)
    with notes.stage("prepare"):
        prepared = prepare(loaded.images, loaded.reference.affine)
        part = None if options.box is None else part_of(prepared, options.box)
    with staging(out) as stage:
        with notes.stage("network", announce=False):
            said = _infer(prepared.image if part is None else part.crop(prepared.image), engine, options, notes)
        with notes.stage("write"):
            if options.save_extras is True and not said.extras:
                notes.warn(f"{engine.weights['preset']} gives neither uncertainty nor a fused volume to write")
            result = _on_reference(prepared, said, part, loaded.reference, engine.meta)
            outputs = _write_volumes(stage, case.case_id, result, loaded.reference, options)
            if options.picture:
                outputs.append(f"{case.case_id}.png")
                picture = _picture(prepared, result, loaded.label, case.case_id, restores)
                write_png(stage / outputs[-1], picture)
        measures = _measures(result.label, loaded.label, loaded.reference, engine.meta)
        with notes.stage("quality", announce=False):
            signs = _quality(prepared, said, part, measures["volumes_ml"], engine, options, notes)
        report = {
            "tool": "DABSeg",
            "notice": reports.NOTICE,
            "case_id": case.case_id,
            **reports.environment(),
            **facts,
            "seed": seed,
            "device": str(said.plan.device),
            "precision": said.precision,
            "plan": str(said.plan),
            "timings_s": notes.timings_s,
            **measures,
            "quality": signs,
            "warnings": notes.warnings,
            "outputs": digests(stage, outputs),
        }
        reports.publish_report(stage, out, report)
    return report, "done"


def window_of(meta: dict[str, Any], asked: int | None) -> int | None:
    """Window edge for `infer`: what was asked for, else what the weights name; None for the whole volume."""
    edge = meta.get("window") if asked is None else asked
    return edge or None


def stability(
    prepared: Prepared, said: Inferred, part: Part | None, engine: Engine, options: Options, notes: Notebook
) -> dict[str, float]:
    """Dice by region between the outlines of the input and of its pseudo-clear version, on the working grid.

    Args:
        prepared: The case.
        said: What the network said of it, or of the part.
        part: The box it was asked about; None for all.
        engine: The network, which is asked again.
        options: How it was asked.
        notes: Takes warnings.
    """
    brain = prepared.brain[None]
    counted = brain if part is None else keep(brain, part.inside, np.zeros_like(brain))
    seen, counted = (mask if part is None else part.crop(mask) for mask in (brain, counted))
    again = _infer(said.restored.numpy().clip(0, 1) * seen, engine, options, notes, "stability")
    voxel_ml = float(np.prod(np.linalg.norm(prepared.affine[:3, :3], axis=0))) / 1000
    answers = (answer.probabilities.numpy() * counted for answer in (said, again))
    labels = (decide(p, engine.meta["thresholds"], voxel_ml, engine.meta.get("et_min_ml", 0.0)) for p in answers)
    return reports.dice_by_region(*map(regions_from_labels, labels))


def decide(
    probabilities: np.ndarray, thresholds: dict[str, float], voxel_ml: float, et_min_ml: float = 0.0
) -> np.ndarray:
    """Label map of region probabilities.

    An enhancing tumour smaller than `et_min_ml` in total is taken for a false alarm and becomes tumour core, as
    most BraTS entries do: where there is none, one false voxel costs the whole Dice.

    Args:
        probabilities: [R, D, H, W].
        thresholds: Probability from which a voxel counts, by region.
        voxel_ml: Volume of a voxel.
        et_min_ml: Smallest enhancing tumour believed.

    Returns:
        Canonical label map, uint8 [D, H, W].
    """
    regions = np.stack([p >= thresholds[r] for r, p in zip(REGIONS, probabilities, strict=True)])
    enhancing = regions[REGIONS.index("ET")]
    if np.count_nonzero(enhancing) * voxel_ml < et_min_ml:
        regions[REGIONS.index("TC")] |= enhancing
        enhancing[:] = False
    return labels_from_regions(regions)


def _refuse_own_folder(case: Case, out: Path) -> None:
    """Results never go where a case's own files lie: `<case>_seg.nii.gz` may be its reference segmentation."""
    path = own_file(case, out)
    if path is not None:
        raise InputError(
            f"--out {out} is the folder of the input {path.name}, which results could overwrite; choose another folder",
            code="out-is-input",
        )


def _quality(
    prepared: Prepared,
    said: Inferred,
    part: Part | None,
    volumes_ml: dict[str, float],
    engine: Engine,
    options: Options,
    notes: Notebook,
) -> dict[str, Any]:
    """Signs that somebody should look at the case, told as a warning where there are."""
    wanted = options.stability and engine.model.restores
    again = stability(prepared, said, part, engine, options, notes) if wanted else None
    signs = quality.assess(quality.motion_index(prepared.image, prepared.brain), again, volumes_ml)
    if signs["review"]:
        notes.warn(quality.sentence(signs))
    return signs


def _infer(image: np.ndarray, engine: Engine, options: Options, notes: Notebook, stage: str = "network") -> Inferred:
    """The network's word on images [M, d, h, w]; its steps become progress, its changes of plan warnings."""
    last = 0

    def on_step(done: int, total: int) -> None:
        nonlocal last
        if done == 0:
            engine.progress.stage(stage, total)
        else:
            engine.progress.step(done - last)
        last = done

    return infer(
        engine.model,
        torch.from_numpy(image),
        device=engine.device,
        window=window_of(engine.meta, options.window),
        overlap=options.overlap,
        tta=options.tta,
        autocast=options.autocast,
        on_event=notes.warn,
        on_step=on_step,
    )


def _on_reference(
    prepared: Prepared, said: Inferred, part: Part | None, reference: Volume, meta: dict[str, Any]
) -> Result:
    """Bring what the network said, of everything or of a part, back to the reference's grid and units."""
    probabilities, restored = said.probabilities.numpy(), said.restored.numpy()
    if part is not None:
        nowhere = np.zeros((len(probabilities), *prepared.grid.shape), np.float32)
        probabilities = place(probabilities, part.around, nowhere)
        restored = place(restored, part.around, prepared.image.copy())
    probabilities = prepared.to_reference(probabilities * prepared.brain, "linear")
    pseudo_clear = prepared.restore_intensity(restored)
    if part is not None:
        probabilities = keep(probabilities, part.box, np.zeros_like(probabilities))
        pseudo_clear = keep(pseudo_clear, part.box, prepared.native.copy())
        restored = keep(restored, part.inside, prepared.image.copy())
    label = decide(probabilities, meta["thresholds"], _voxel_ml(reference), meta.get("et_min_ml", 0.0))
    extras = {name: _extra_on_reference(prepared, extra.numpy(), part) for name, extra in said.extras.items()}
    return Result(label, probabilities, pseudo_clear, restored, extras)


def _extra_on_reference(prepared: Prepared, extra: np.ndarray, part: Part | None) -> np.ndarray:
    """Channels of the network [C, d, h, w], of everything or of a part, on the reference's grid; 0 elsewhere."""
    if part is not None:
        extra = place(extra, part.around, np.zeros((len(extra), *prepared.grid.shape), np.float32))
    extra = prepared.to_reference(extra * prepared.brain, "linear")
    return extra if part is None else keep(extra, part.box, np.zeros_like(extra))


def _write_volumes(stage: Path, case_id: str, result: Result, reference: Volume, options: Options) -> list[str]:
    """Write the volumes asked for into the staging folder; returns their names."""
    volumes: dict[str, np.ndarray] = {"seg": result.label}
    if options.restored:
        volumes |= {f"{m}_pseudo-clear": v for m, v in zip(MODALITIES, result.pseudo_clear, strict=True)}
    if options.save_regions:
        masks = regions_from_labels(result.label).astype(np.uint8)
        volumes |= dict(zip(REGIONS, masks, strict=True))
    if options.save_probabilities:
        volumes |= {f"probabilities_{r}": p for r, p in zip(REGIONS, result.probabilities, strict=True)}
    if options.save_extras:
        names = {"uncertainty": [f"uncertainty_{region}" for region in REGIONS], "fused": ["fused"]}
        for kind, extra in result.extras.items():
            volumes |= dict(zip(names[kind], extra, strict=True))
    files = {f"{case_id}_{name}.{options.format}": reference.with_array(array) for name, array in volumes.items()}
    at_once(lambda name: write_volume(stage / name, files[name]), files)
    return list(files)


def _measures(label: np.ndarray, truth: np.ndarray | None, reference: Volume, meta: dict[str, Any]) -> dict[str, Any]:
    """Numbers of the report: grid, volumes, thresholds, and Dice where there is a reference segmentation."""
    regions = regions_from_labels(label)
    return {
        "grid": {"shape": list(reference.shape), "spacing_mm": [round(mm, 6) for mm in reference.spacing_mm]},
        "thresholds": meta["thresholds"],
        "et_min_ml": meta.get("et_min_ml", 0.0),
        "volumes_ml": reports.volumes_ml(regions, _voxel_ml(reference)),
        "dice": None if truth is None else reports.dice_by_region(regions, regions_from_labels(truth)),
    }


def _picture(prepared: Prepared, result: Result, truth: np.ndarray | None, case_id: str, restores: bool) -> np.ndarray:
    """Slices through the tumour: input, pseudo-clear, outlines (and the reference's), RGB [height, width, 3]."""

    def regions(labels: np.ndarray) -> np.ndarray:
        return regions_from_labels(prepared.to_working(labels[None], "nearest")[0])

    rows = {"input": prepared.image}
    if restores:
        rows["pseudo-clear"] = (result.working * prepared.brain).clip(0, 1)
    rows["segmentation"] = prepared.image
    outlines = {"segmentation": regions(result.label)}
    if truth is not None:
        rows["reference"] = prepared.image
        outlines["reference"] = regions(truth)
    return case_panel(rows, outlines, title=case_id)


def _voxel_ml(volume: Volume) -> float:
    return float(np.prod(volume.spacing_mm)) / 1000
