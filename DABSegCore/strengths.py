"""Strengths: what may spoil an image besides motion, and how much of it each level of severity is; no packages needed.

The most is what the sources draw at most, and for `blur` S1 is the least: MedDeblur's Algorithm 1 for blur, RMR-Fusion
for noise, smoothing and lost structure. What each costs a network was not matched to levels of motion.
"""

from __future__ import annotations

MOTION = "motion"
"""The name of what is none of these, where any may be named."""

STRENGTHS: dict[str, tuple[float, ...]] = {
    "blur": (0, 20, 28, 37, 45),
    "streak": (0, 4, 8, 14, 22),
    "noise": (0, 0.025, 0.05, 0.075, 0.1),
    "smooth": (0, 0.75, 1.5, 2.25, 3),
    "structure": (0, 1, 2, 3, 5),
    "bias": (0, 0.1, 0.2, 0.3, 0.4),
}
"""By severity, S0 to S4:

- blur: pixels of a line within slices;
- streak: mm of a line in space;
- noise: standard deviation, of the volume's maximum;
- smooth: standard deviation in pixels of a Gaussian within slices;
- structure: samples of their spectrum that phases wander in eight windows;
- bias: largest share by which a smooth field changes intensities, up or down."""
