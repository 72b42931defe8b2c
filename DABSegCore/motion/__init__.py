"""Motion: rigid head motion during a scan - drawn as a trajectory, applied in k-space, seeded and replayable."""

from DABSegCore.motion.kspace import apply_trajectory as apply_trajectory
from DABSegCore.motion.kspace import corrupt_case as corrupt_case
from DABSegCore.motion.kspace import corrupt_volume as corrupt_volume
from DABSegCore.motion.kspace import draw_trajectory as draw_trajectory
from DABSegCore.motion.trajectory import PRESETS as PRESETS
from DABSegCore.motion.trajectory import SEVERITIES as SEVERITIES
from DABSegCore.motion.trajectory import Severity as Severity
from DABSegCore.motion.trajectory import Trajectory as Trajectory
from DABSegCore.motion.trajectory import case_generator as case_generator
