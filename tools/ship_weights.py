"""Ship weights: make `DABSegCore/weights/small.pt` of a training run's `weights.pt`, in half the size.

    python tools/ship_weights.py RUN/weights.pt

Tensors become float16; of the facts only those of the training remain. Measure what was shipped, not what was trained:
`tools/measure_weights.py` comes next, and its table goes into the model card beside the weights.
"""

from __future__ import annotations

import sys
from pathlib import Path

from DABSegCore.checkpoint import load_checkpoint, save_checkpoint, shipped_weights
from DABSegCore.files import sha256

KEPT = ("window", "training", "step", "elapsed_s", "validation", "thresholds", "et_min_ml")

PATHS = ("out", "data", "init")
"""Older runs wrote these as text; weights travel, paths do not."""


def main(source: Path) -> None:
    """Convert one checkpoint."""
    model, meta = load_checkpoint(source, expect_preset="small")
    facts = {name: meta[name] for name in KEPT if name in meta}
    facts.setdefault("window", facts["training"]["patch"])
    facts["training"] = {name: value for name, value in facts["training"].items() if name not in PATHS}
    save_checkpoint(shipped_weights(), model, model.config, facts, half=True)
    size_mb = shipped_weights().stat().st_size / 1e6
    print(f"{shipped_weights()}: {size_mb:.2f} MB, SHA-256 {sha256(shipped_weights())}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
