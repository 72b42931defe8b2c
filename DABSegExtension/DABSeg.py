"""DABSeg: the module as Slicer sees it; what it does is in `DABSegLib`, what it computes in `DABSegCore`."""

import sys

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class DABSeg(ScriptedLoadableModule):
    """Name, place and description of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("DABSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Volumes", "Markups", "Tables"]
        parent.contributors = ["The DABSeg contributors"]
        parent.helpText = _(
            "Restores motion-blurred brain MRI (T1, contrast-enhanced T1, T2, FLAIR) and outlines the glioma in it: "
            "enhancing tumour (ET), tumour core (TC), whole tumour (WT). Research use only: not for diagnosis or "
            "treatment; pseudo-clear volumes are synthetic. The tutorial is docs/slicer.md of the project's page."
        )
        parent.acknowledgementText = _(
            "After: Degradation-Aware Blur-Segmentation of Brain Tumor (Wang et al. 2026, arXiv 2605.15671)."
        )
        slicer.app.connect("startupCompleted()", _register_sample_data)


class DABSegWidget(ScriptedLoadableModuleWidget):
    """The panel, for as long as Slicer shows it."""

    panel = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from DABSegLib.panel import Panel

        self.panel = Panel(self, DABSegLogic())

    def enter(self):
        self.panel.enter()

    def exit(self):
        self.panel.exit()

    def cleanup(self):
        if self.panel is not None:  # else the panel could not be made, and a corrected one is about to be
            self.panel.close()

    def onReload(self):
        """Reload, in developer mode, the libraries as well as this file."""
        for name in [name for name in sys.modules if name.partition(".")[0] in ("DABSegLib", "DABSegCore")]:
            del sys.modules[name]
        super().onReload()


class DABSegLogic(ScriptedLoadableModuleLogic):
    """What a script can do without the panel."""

    def getParameterNode(self):
        from DABSegLib.parameters import DABSegParameters

        return DABSegParameters(super().getParameterNode())

    def segment(self, volumes, reference="t1ce", **options):
        """Segment four volume nodes and wait for it; returns the nodes made (`work.SegmentResult`).

        Args:
            volumes: Modality (t1, t1ce, t2, flair) -> volume node.
            reference: Modality on whose grid the results are.
            options: `weights`, `device`, `tta`, `roi` as in `work.segment_steps`.
        """
        from DABSegLib.work import Inputs, Work, run_to_end, segment_steps

        return run_to_end(Work(segment_steps(slicer.mrmlScene, Inputs(volumes, reference), **options)))

    def simulate(self, volumes, severity=2, seed=0, **options):
        """Blur four volume nodes by simulated head motion and wait for it (`work.SimulateResult`)."""
        from DABSegLib.work import Inputs, Work, run_to_end, simulate_steps

        steps = simulate_steps(slicer.mrmlScene, Inputs(volumes), severity=severity, seed=seed, **options)
        return run_to_end(Work(steps))


class DABSegTest(ScriptedLoadableModuleTest):
    """Self test, for whoever has Slicer: a virtual patient is made, blurred and segmented."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from DABSegLib.selftest import run

        self.setUp()
        run(self.delayDisplay)


def _register_sample_data():
    from DABSegLib import sample

    sample.register()
