"""Workbench: the model of one session, on a real MRML scene, without any page and without Qt.

bench = Workbench(scene, folder, cases, turns=turns, on_change=page.refresh)
bench.open_virtual(5)
while bench.busy:  # from a timer: at once again while `tick` says so, else 50 ms later
    bench.tick()
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from DABSegLib.process.messages import Fault

from DABSegCore.phantom import BRATS_SHAPE
from DABSegExtension.browser import links
from DABSegExtension.browser.deeds import Deeds
from DABSegExtension.browser.facts import about, memory_mib
from DABSegExtension.browser.jobs import Jobs, Task
from DABSegExtension.browser.jobs import Turns as Turns
from DABSegExtension.browser.privacy import Privacy
from DABSegExtension.browser.state import Snapshot, View

UNTOLD = ("bug", "child-failed")
"""Faults whose causes are parts of a traceback, which are for the log."""

OUR_FAULT = "The workbench made a mistake. Please tell whoever runs this server; the log is there."

log = logging.getLogger("dabseg.browser")


class Workbench:
    """One session: a case, its motion, what the network made of it, and what was measured.

    Nothing is raised for what goes wrong with a user's wish: it is in the snapshot's `fault`. A wish to open cancels
    what is being done; any other is not heard while something is, as its button is disabled then.

    Nodes that are to go leave the scene after `on_change` told of those in their place.

    Args:
        scene: The vtkMRMLScene that a page shows; it must be `slicer.mrmlScene`, too.
        folder: The session's own, with `in`, `out` and `tmp`.
        cases: Name -> case folder, of what may be opened by name.
        weights: Checkpoint, or None for the one that ships.
        device: auto, cpu, cuda, cuda:N or mps.
        turns: The queue for heavy work.
        on_change: Called when a work begins or ends and nodes or numbers change; not for mere progress.
        virtual_shape: Voxels [D, H, W] of virtual patients.
        virtual_spacing_mm: Their edge.
    """

    def __init__(
        self,
        scene: Any,
        folder: Path,
        cases: Mapping[str, Path],
        *,
        weights: Path | None = None,
        device: str = "auto",
        turns: Turns,
        on_change: Callable[[], None],
        virtual_shape: tuple[int, int, int] = BRATS_SHAPE,
        virtual_spacing_mm: float = 1.0,
    ) -> None:
        self._cases = dict(cases)
        self._on_change = on_change
        self._privacy = Privacy([folder, *(path.parent for path in self._cases.values()), *self._cases.values()])
        self._jobs = Jobs(turns, on_change, self._fail)
        self._fault, self._notices = "", []
        self._deeds = Deeds(
            scene,
            folder / "out",
            weights=weights,
            device=device,
            virtual_shape=virtual_shape,
            virtual_spacing_mm=virtual_spacing_mm,
            on_change=on_change,
            on_log=self._hear,
            privacy=self._privacy,
        )

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the cases that may be opened."""
        return tuple(self._cases)

    @property
    def busy(self) -> bool:
        """Whether something is being done or waits for its turn."""
        return self._jobs.busy

    @property
    def segmentation(self) -> Any | None:
        """The outlines that were found."""
        patient = self._deeds.patient
        return patient.result.segmentation if patient is not None and patient.result is not None else None

    @property
    def truth(self) -> Any | None:
        """The reference segmentation, which is hidden at first: its colours are those of the outlines."""
        return self._deeds.patient.truth if self._deeds.patient is not None else None

    def rows(self) -> dict[str, dict[str, Any]]:
        """Kind of image (of `DABSegLib.views.layout.ROWS`) -> column -> volume node, of what there is.

        "sharp" are the volumes as they were given: of a real case nobody knows whether the patient moved.
        """
        return self._deeds.patient.rows() if self._deeds.patient is not None else {}

    def open_case(self, name: str) -> None:
        """Open a case of the list in place of what is open."""
        if name in self._cases:
            self._open(links.Wish(case=name))
        else:
            self._refuse("There is no case of that name here; choose another.")

    def open_virtual(self, seed: int) -> None:
        """Make a virtual patient in place of what is open."""
        if seed in range(links.MOST_SEED + 1):
            self._open(links.Wish(virtual=seed))
        else:
            self._refuse(f"Virtual patients are numbered 0 to {links.MOST_SEED}; choose one of them.")

    def open_upload(self, files: Mapping[str, Path]) -> None:
        """Open four uploaded files, by modality, in place of what is open."""
        self._start(self._deeds.opening_upload(dict(files)))

    def open_link(self, query: Mapping[str, str]) -> None:
        """Open what a link names and do what it asks for; what is wrong in it is told."""
        wish, wrong = links.read(query, self._cases)
        if wish.case is not None or wish.virtual is not None:
            self._open(wish)
        if wrong:
            self._refuse(" ".join(wrong))

    def simulate(self, severity: int, seed: int) -> None:
        """Blur the case by simulated motion of a level, in place of earlier motion; level 0 takes that away."""
        if severity not in links.LEVELS or seed not in range(links.MOST_SEED + 1):
            self._refuse(f"Levels of motion are 0 to {links.LEVELS[-1]} and seeds 0 to {links.MOST_SEED}.")
        elif not self._why_not()["simulate"]:
            self._start([self._deeds.simulation(severity, seed)])

    def run(self) -> None:
        """Restore and outline what is open, and measure it where it can be measured."""
        if not self._why_not()["run"]:
            self._start(self._deeds.running())

    def measure_robustness(self) -> None:
        """Outline this case at every level of motion, with the seed that is shown; rows come as they are done."""
        if not self._why_not()["measure"]:
            self._start(self._deeds.measuring_robustness())

    def make_maps(self) -> None:
        """Show what the network changed, as the row "difference"."""
        if self.segmentation is not None and not self.busy:
            self._start(self._deeds.mapping())

    def drop_maps(self) -> None:
        """Take the row "difference" away."""
        if self._deeds.patient is not None and not self.busy:
            self._deeds.replace(self._deeds.patient.forget_maps())

    def prepare_downloads(self) -> None:
        """Write all there is to download into the session's folder."""
        if not self._why_not()["download"]:
            self._start(self._deeds.downloading())

    def cancel(self) -> None:
        """Stop what is being done; what was there before stays, and rows of robustness that are done."""
        self._jobs.cancel()

    def look(self, plane: str, offset_mm: float) -> None:
        """The page looks here now; the link is to say so. Nothing is told of it."""
        if plane not in links.PLANES:
            raise ValueError(f"a plane is one of {', '.join(links.PLANES)}, not {plane!r}")
        self._deeds.view = View(plane, offset_mm, self._deeds.view.number)

    def dismiss(self) -> None:
        """The page's user has read what went wrong."""
        self._fault = ""
        self._on_change()

    def tick(self) -> bool:
        """Do one small step; True if the next should follow at once, else in 50 ms."""
        return self._jobs.tick()

    def close(self) -> None:
        """Stop at once: when this returns no process is left, and the downloads are gone."""
        self._jobs.close()
        self._deeds.clear_downloads()

    def snapshot(self) -> Snapshot:
        """All that a page shows."""
        status, patient, why_not = self._jobs.status, self._deeds.patient, self._why_not()
        general = Snapshot(
            busy=self.busy,
            doing=self._jobs.doing,
            stage=status.stage,
            fraction=status.fraction,
            left_s=status.left_s,
            ahead=self._jobs.ahead,
            fault=self._fault,
            notices=(*(patient.findings if patient is not None else ()), *self._notices),
            **{f"can_{what}": not why for what, why in why_not.items()},
            **{f"why_not_{what}": why for what, why in why_not.items()},
            downloads=self._deeds.downloads,
            view=self._deeds.view,
            memory_mib=memory_mib(),
            revision=self._deeds.revision,
        )
        return general if patient is None else replace(general, **about(patient, self._deeds.view))

    def _why_not(self) -> dict[str, str]:
        """What may be wished -> what is in the way, empty if nothing is."""
        patient = self._deeds.patient
        if self.busy or patient is None:
            why = "Wait until it is done, or cancel." if self.busy else "Open a case first."
            cancel = "" if self.busy else "Nothing is being done."
            return {"simulate": why, "run": why, "measure": why, "download": why, "cancel": cancel}
        made = patient.result is not None or patient.record is not None
        return {
            **dict.fromkeys(("simulate", "run", "measure"), patient.obstacle),
            "download": "" if made else "Nothing was made yet.",
            "cancel": "Nothing is being done.",
        }

    def _open(self, wish: links.Wish) -> None:
        """Open, blur and run as wished."""
        tasks = (
            self._deeds.opening_case(wish.case, self._cases[wish.case], wish)
            if wish.case is not None
            else self._deeds.opening_virtual(wish.virtual, wish)
        )
        if wish.severity:
            tasks.append(self._deeds.simulation(wish.severity, wish.seed))
        if wish.run:
            tasks += self._deeds.running()
        self._start(tasks)

    def _start(self, tasks: Sequence[Task]) -> None:
        self._fault, self._notices = "", []
        self._jobs.start(tasks)

    def _refuse(self, sentence: str) -> None:
        self._fault = sentence
        self._on_change()

    def _hear(self, level: str, text: str) -> None:
        """A line of a process: all go to the log, warnings to the page."""
        log.log(logging.WARNING if level == "warning" else logging.INFO, "%s", text)
        notice = self._privacy.sentence(text)
        if level == "warning" and notice not in self._notices:
            self._notices.append(notice)

    def _fail(self, fault: Fault) -> None:
        log.error("%s %s\n%s", fault.cause, fault.cure, fault.log)
        sentence = self._privacy.sentence(" ".join(filter(None, (fault.cause, fault.cure))))
        self._fault = OUR_FAULT if fault.code in UNTOLD else sentence
