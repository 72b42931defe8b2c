"""Work: what takes time, as generators that do one small piece between two looks at the event loop.

work = Work(segment_steps(scene, Inputs(volumes), on_log=print))
while not work.finished:  # from a timer: soon again while work.status.busy, else 50 ms later
    work.advance()
"""

from DABSegLib.work.inputs import Inputs
from DABSegLib.work.maps import maps_steps
from DABSegLib.work.runner import Status, Work, run_to_end
from DABSegLib.work.sample import SampleResult, sample_steps
from DABSegLib.work.score import score_steps
from DABSegLib.work.segment import SegmentResult, segment_steps
from DABSegLib.work.simulate import SimulateResult, simulate_steps
from DABSegLib.work.whole_folder import FolderResult, folder_command, folder_steps

__all__ = [
    "FolderResult",
    "Inputs",
    "SampleResult",
    "SegmentResult",
    "SimulateResult",
    "Status",
    "Work",
    "folder_command",
    "folder_steps",
    "maps_steps",
    "run_to_end",
    "sample_steps",
    "score_steps",
    "segment_steps",
    "simulate_steps",
]
