"""Smoke: train on virtual patients for a minute or two, and see that something was learned.

    python tools/train_smoke.py [--out train-smoke]

Fails unless the loss falls and the network outlines the whole tumour of a virtual patient it has never seen.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from DABSegCore.training.history import read_steps, read_validation

SETTINGS = {
    "--virtual": 4,
    "--virtual-validation": 1,
    "--preset": "small",
    "--patch": 64,
    "--batch": 1,
    "--severities": 0,
    "--patches-per-twin": 4,
    "--steps": 120,
    "--validate-every": 120,
    "--warm-up-steps": 10,
    "--learning-rate": 2e-3,
    "--device": "cpu",
}

LEAST_FALL = 0.25
"""Part of the first loss that must be gone at the end."""

LEAST_DICE = 0.4
"""Whole tumour of the unseen patient, without and with motion."""


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("train-smoke"))
    out = parser.parse_args().out
    if out.exists() and not (out / "steps.csv").is_file() and any(out.iterdir()):
        print(f"error: {out} is no earlier smoke run and is not empty; choose another --out", file=sys.stderr)
        return 2
    shutil.rmtree(out, ignore_errors=True)
    settings = [str(word) for pair in SETTINGS.items() for word in pair]
    code = subprocess.run(
        [sys.executable, "-m", "DABSegCore.train", "--out", str(out), *settings], check=False
    ).returncode
    if code:
        return code
    loss = read_steps(out)["loss"]
    fall = 1 - loss[-3:].mean() / loss[:3].mean()
    dice = {row["severity"]: row["WT"] for row in read_validation(out)}
    print(f"the loss fell by {fall:.0%}; Dice of the unseen whole tumour: S0 {dice[0]:.3f}, S2 {dice[2]:.3f}")
    learned = fall >= LEAST_FALL and min(dice.values()) >= LEAST_DICE
    if not learned:
        print(f"error: {LEAST_FALL:.0%} and {LEAST_DICE} are asked for; see {out / 'curves.png'}", file=sys.stderr)
    return 0 if learned else 1


if __name__ == "__main__":
    raise SystemExit(main())
