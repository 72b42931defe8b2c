"""Deeds: what a session can do with its case, as tasks whose last step changes what is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from DABSegLib.nodes import segments
from DABSegLib.process.messages import readable
from DABSegLib.work import Inputs, maps_steps, sample_steps, score_steps, segment_steps, simulate_steps
from DABSegLib.work.runner import OnLog, Status, Steps

from DABSegCore.cases import find_case
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.phantom import patient_id
from DABSegExtension.browser import downloads
from DABSegExtension.browser.jobs import Task
from DABSegExtension.browser.links import Wish
from DABSegExtension.browser.opening import Opened, check_steps, open_files_steps, uploaded_case
from DABSegExtension.browser.patient import Patient, remove, settle_names
from DABSegExtension.browser.privacy import Privacy
from DABSegExtension.browser.robustness import Robustness
from DABSegExtension.browser.state import Download, RobustnessRow, View

UPLOAD = "Uploaded case"


class Deeds:
    """A session's case and what is done with it.

    Args:
        scene: The vtkMRMLScene that a page shows.
        out: Folder for downloads.
        weights: Checkpoint, or None for the one that ships.
        device: auto, cpu, cuda, cuda:N or mps.
        virtual_shape: Voxels [D, H, W] of virtual patients.
        virtual_spacing_mm: Their edge.
        on_change: Called when nodes, or numbers that tell of them, are others.
        on_log: Told what the processes tell.
        privacy: Makes sentences fit for the page, and files fit for those who download them.
    """

    def __init__(
        self,
        scene: Any,
        out: Path,
        *,
        weights: Path | None,
        device: str,
        virtual_shape: tuple[int, int, int],
        virtual_spacing_mm: float,
        on_change: Callable[[], None],
        on_log: OnLog,
        privacy: Privacy,
    ) -> None:
        self._scene, self._out = scene, out
        self._options = {"weights": weights, "device": device, "on_log": on_log}
        self._virtual = {"shape": virtual_shape, "spacing_mm": virtual_spacing_mm, "on_log": on_log}
        self._on_change, self._on_log, self._privacy = on_change, on_log, privacy
        self.patient: Patient | None = None
        self.downloads: tuple[Download, ...] = ()
        self.view = View()
        self.revision = 0

    def opening_case(self, name: str, folder: Path, wish: Wish) -> list[Task]:
        """Open the case in a folder."""

        def steps() -> Steps[Opened]:
            yield Status("Looking for the files", 0.0, busy=True)
            return (yield from open_files_steps(self._scene, find_case(folder), name, trusted=True))

        return self._opening(name, "case", steps, wish)

    def opening_virtual(self, seed: int, wish: Wish) -> list[Task]:
        """Make a virtual patient."""

        def steps() -> Steps[Opened]:
            made = yield from sample_steps(self._scene, seed, **self._virtual)
            return Opened(made.volumes, made.truth)

        return self._opening(patient_id(seed), "virtual", steps, wish)

    def opening_upload(self, files: Mapping[str, Path]) -> list[Task]:
        """Open four files that came from a page, by modality."""

        def steps() -> Steps[Opened]:
            yield Status("Looking for the files", 0.0, busy=True)
            return (yield from open_files_steps(self._scene, uploaded_case(files, "upload"), "upload", trusted=False))

        return self._opening(UPLOAD, "upload", steps, Wish())

    def simulation(self, severity: int, seed: int) -> Task:
        """Blur the case by simulated motion, or take the motion away where the level is 0."""

        def steps() -> Steps[None]:
            patient = self.patient
            if severity:
                inputs = Inputs(patient.volumes)
                made = yield from simulate_steps(self._scene, inputs, severity=severity, seed=seed, on_log=self._on_log)
                gone = patient.forget_motion()
                patient.severity, patient.motion, patient.record = severity, made.motion, made.record
            else:
                yield Status("Showing the volumes without motion", busy=True)
                gone = patient.forget_motion() if patient.motion else []
            patient.seed = seed
            self.replace(gone)

        return Task("simulate", steps, heavy=severity > 0)

    def running(self) -> list[Task]:
        """Restore and outline, then measure."""
        return [
            Task("run", self._segment_steps, heavy=True, high=0.9),
            Task("run", self._score_steps, heavy=True, same_turn=True, low=0.9),
        ]

    def measuring_robustness(self) -> list[Task]:
        """Outline the case at every level of motion, with its seed."""
        patient = self.patient

        def add(row: RobustnessRow) -> None:
            patient.robustness = (*patient.robustness, row)
            self._on_change()

        patient.robustness, patient.robustness_seed = (), patient.seed
        return Robustness(patient.volumes, patient.truth, patient.seed, **self._options, on_row=add).tasks()

    def mapping(self) -> list[Task]:
        """Show what the network changed."""

        def steps() -> Steps[None]:
            patient = self.patient
            made = yield from maps_steps(self._scene, patient.result.segmentation)
            gone = patient.forget_maps()
            patient.maps = made
            self.replace(gone)

        return [Task("maps", steps)]

    def downloading(self) -> list[Task]:
        """Write all there is to download."""

        def steps() -> Steps[None]:
            patient = self.patient
            made = yield from downloads.download_steps(
                self._out,
                Inputs(patient.volumes).case_id,
                segmentation=patient.result.segmentation if patient.result is not None else None,
                motion={modality: node for modality, node in patient.motion.items() if downloads.is_motion(node)},
                record=patient.record,
                robustness=patient.robustness,
                privacy=self._privacy,
                on_log=self._on_log,
            )
            self.downloads = tuple(made)

        return [Task("downloads", steps)]

    def replace(self, gone: Sequence[Any]) -> None:
        """New nodes have come in the place of others: tell the page, then take those out of the scene."""
        self.clear_downloads()
        self.revision += 1
        self._on_change()
        remove(self._scene, gone)
        settle_names(self._scene, self.patient.nodes())

    def clear_downloads(self) -> None:
        """Remove files of an earlier state: nobody is to take them for those of what is shown."""
        downloads.clear(self._out)
        self.downloads = ()

    def _opening(self, title: str, source: str, steps: Callable[[], Steps[Opened]], wish: Wish) -> list[Task]:
        """Open, then check: the picture is there in the meantime."""
        begun = time.perf_counter()

        def open_steps() -> Steps[None]:
            opened = yield from steps()
            if opened.truth is not None:
                opened.truth.SetDisplayVisibility(False)
            gone = self.patient.nodes() if self.patient is not None else []
            seconds = time.perf_counter() - begun
            self.patient = Patient(title, source, wish.virtual, opened.volumes, opened.truth, seconds, seed=wish.seed)
            self.view = View(wish.plane or self.view.plane, wish.offset_mm, self.view.number + 1)
            self.replace(gone)

        return [Task("open", open_steps, high=0.95), Task("open", self._check_steps, low=0.95)]

    def _check_steps(self) -> Steps[None]:
        """Note what may be wrong with the volumes.

        Raises:
            InputError: If something forbids a run.
        """
        patient = self.patient
        findings = yield from check_steps(patient.volumes)
        stops = [finding for finding in findings if finding.level == "stop"]
        patient.findings = tuple(self._privacy.sentence(f.text) for f in findings if f not in stops)
        if stops:
            patient.obstacle = self._privacy.sentence(stops[0].text)
            raise InputError(readable(stops[0].text), stops[0].code)

    def _segment_steps(self) -> Steps[None]:
        patient = self.patient
        result = yield from segment_steps(self._scene, Inputs(patient.given), **self._options)
        gone = patient.forget_result()
        patient.result, patient.volumes_ml = result, segments.volumes_ml(result.segmentation)
        self.replace(gone)

    def _score_steps(self) -> Steps[None]:
        """Compare with the reference, and the images with the sharp ones where those given were blurred."""
        patient = self.patient
        pairs = [m for m in MODALITIES if patient.motion and patient.motion[m] is not patient.volumes[m]]
        patient.scores = yield from score_steps(
            self._scene,
            patient.result.segmentation,
            patient.truth,
            sharp={modality: patient.volumes[modality] for modality in pairs},
            corrupted={modality: patient.motion[modality] for modality in pairs},
            restored=patient.result.pseudo_clear,
            reference_node=patient.volumes["t1ce"],
            on_log=self._on_log,
        )
