"""Train: `python -m DABSegCore.train --data DIR --out RUN [--max-minutes 60]`.

Joint restoration and segmentation (equations 14-16) on aligned patches under fresh simulated motion. Validates on whole
volumes in windows, keeps a moving average of the weights, writes `last.pt` (all, to resume) and `weights.pt` (to use).
"""

from __future__ import annotations

import csv
import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from DABSegCore.checkpoint import load_checkpoint, save_checkpoint
from DABSegCore.config import PRESETS, TrainConfig
from DABSegCore.devices import half_dtype, resolve_device
from DABSegCore.errors import InputError
from DABSegCore.files import make_folder, replacing
from DABSegCore.inference import infer
from DABSegCore.labels import REGIONS
from DABSegCore.losses import joint_loss, reconstruction_loss
from DABSegCore.metrics import dice, psnr
from DABSegCore.models import build_model
from DABSegCore.progress import Progress, run_command
from DABSegCore.stream import Patch, PatchStream, TrainingCase, Twin, labelled_cases, make_twin, real_case, virtual_case

FIRST_VIRTUAL, FIRST_VIRTUAL_VALIDATION = 1_000, 900_000
"""Seeds of virtual patients, far apart so that none is both trained on and validated with."""

VALIDATION_SEVERITIES = (0, 2)
WARM_UP_STEPS = 100
MOST_SKIPPED = 50


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    try:
        import tyro
    except ModuleNotFoundError as error:
        raise InputError(
            'training needs the package tyro, which is not installed; run: pip install -e ".[train]"',
            code="missing-package",
        ) from error
    config = tyro.cli(TrainConfig, args=argv, description=__doc__)
    train(config, Progress())
    return 0


def train(config: TrainConfig, progress: Progress) -> None:
    """Run or resume one training.

    Raises:
        InputError: If there is nothing to train on, or a validation case is not among the data.
    """
    device = resolve_device(config.device)
    training, validation = load_cases(config, progress)
    twins = [make_twin(c, s, config.seed, 0) for c in validation for s in VALIDATION_SEVERITIES]
    torch.manual_seed(config.seed)
    run = Run(config, device)
    run.resume()
    stream = PatchStream(
        training,
        size=config.patch,
        batch=config.batch,
        severities=config.severities,
        pool=config.pool,
        patches_per_twin=config.patches_per_twin,
        seed=config.seed + run.step,  # a resumed run goes on with fresh draws
        device=device,
    )
    progress.stage("train")
    next_validation_s = run.elapsed_s + 60 * config.validate_minutes
    while run.elapsed_s < 60 * config.max_minutes:
        log = run.advance(stream)
        if run.step % 10 == 0:
            left_s = 60 * config.max_minutes - run.elapsed_s
            progress.step(10, **log, left_min=left_s / 60)
        if run.elapsed_s >= next_validation_s:
            next_validation_s = run.elapsed_s + 60 * config.validate_minutes
            run.validate(twins, progress)
    run.validate(twins, progress)
    progress.done(step=run.step, weights=str(config.out / "weights.pt"))


def load_cases(config: TrainConfig, progress: Progress) -> tuple[list[TrainingCase], list[TrainingCase]]:
    """Training and validation cases, real ones from files and virtual ones from seeds."""
    files = labelled_cases(config.data) if config.data is not None else []
    known = {case.case_id for case in files}
    absent = sorted(set(config.validation) - known)
    if absent:
        raise InputError(
            f"the validation case {absent[0]!r} is not among the {len(known)} cases with a segmentation in "
            f"{config.data}; correct --validation or --data",
            code="missing-case",
        )
    seeds = [FIRST_VIRTUAL + i for i in range(config.virtual)]
    held_out = [FIRST_VIRTUAL_VALIDATION + i for i in range(config.virtual_validation)]
    if not known - set(config.validation) and not seeds:
        raise InputError("there is nothing to train on; give --data or --virtual", code="no-cases")
    progress.stage("read cases", len(files) + len(seeds) + len(held_out))
    training: list[TrainingCase] = []
    validation: list[TrainingCase] = []
    for case in files:
        (validation if case.case_id in config.validation else training).append(real_case(case))
        progress.step()
    for target, numbers in ((training, seeds), (validation, held_out)):
        for seed in numbers:
            target.append(virtual_case(seed))
            progress.step()
    return training, validation


def training_dtype(device: torch.device, patch: int) -> torch.dtype | None:
    """Number format of the heavy operations in training: bfloat16 where it pays, else None for float32.

    Float16 gradients would need loss scaling, so that is never used. On CPUs the bfloat16 weight gradient of a 3x3x3
    convolution on a 2x2x2 grid reads memory nobody wrote (oneDNN in torch 2.13); patches under 96 have such a level.
    """
    dtype = half_dtype(device, "auto")
    safe = device.type != "cpu" or patch >= 96
    return dtype if dtype is torch.bfloat16 and safe else None


class Run:
    """The state of one training: network, its average, optimiser, clock; all of it in `last.pt`."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        model = build_model(PRESETS[config.preset])
        if config.init is not None:
            model, _ = load_checkpoint(config.init, expect_preset=config.preset)
        self.model = model.to(device, memory_format=torch.channels_last_3d)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.dtype = training_dtype(device, config.patch)
        self.skipped = 0
        self.step = 0
        self._banked_s, self._started = 0.0, time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Time spent in the loop, over all sittings."""
        return self._banked_s + time.monotonic() - self._started

    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine to 0 over the time budget."""
        share = min(self.elapsed_s / (60 * self.config.max_minutes), 1.0)
        warm = min((self.step + 1) / WARM_UP_STEPS, 1.0)
        return self.config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * share))

    def advance(self, stream: PatchStream) -> dict[str, float]:
        """One optimisation step."""
        patch = stream.next()
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.model.train()
        stem_only = self.elapsed_s < 60 * self.config.stem_minutes
        loss, parts = self._stem_loss(patch) if stem_only else self._joint_loss(patch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self._count_skipped(bool(torch.isfinite(norm)))
        if not self.skipped:  # one overflowing step must not poison the weights
            self.optimiser.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return {"loss": loss.item(), **parts, **({"skipped": self.skipped} if self.skipped else {})}

    def _count_skipped(self, finite: bool) -> None:
        """Count steps in a row whose gradient is not finite; too many end the run."""
        self.skipped = 0 if finite else self.skipped + 1
        if self.skipped >= MOST_SKIPPED:
            raise InputError(
                f"{self.skipped} steps in a row had a gradient that is not finite, at step {self.step}; "
                "lower --learning-rate or look at the data, and start again from the last checkpoint",
                code="diverged",
            )

    def _joint_loss(self, patch: Patch) -> tuple[Tensor, dict[str, float]]:
        with self._autocast():
            prediction = self.model(patch.corrupted.to(memory_format=torch.channels_last_3d))
        return joint_loss(
            prediction,
            patch.regions,
            patch.sharp,
            patch.brain,
            weights=self.config.region_weights,
            lambda_rec=self.config.lambda_rec,
        )

    def _stem_loss(self, patch: Patch) -> tuple[Tensor, dict[str, float]]:
        with self._autocast():
            restored = self.model.stem(patch.corrupted.to(memory_format=torch.channels_last_3d))
        loss = reconstruction_loss(restored, patch.sharp, patch.brain)
        return loss, {"rec": loss.item()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def validate(self, twins: list[Twin], progress: Progress) -> None:
        """Score the averaged weights on whole volumes, log, and write both checkpoints."""
        rows = score(self.average.module, twins, self.device, self.config.patch)
        path = self.config.out / "validation.csv"
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerows([["step", "seconds", *rows[0]]] if new and rows else [])
            table.writerows([self.step, round(self.elapsed_s), *row.values()] for row in rows)
        for row in rows:
            progress.log("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{v}" for k, v in row.items()))
        self.save(rows)

    def save(self, rows: list[dict]) -> None:
        """Write `weights.pt` for use and `last.pt` for resuming."""
        out, facts = self.config.out, self._facts()
        meta = {
            "window": self.config.patch,
            "training": facts,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "validation": rows,
        }
        save_checkpoint(out / "weights.pt", self.average.module, PRESETS[self.config.preset], meta)
        state = {
            "config": facts,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        with replacing(out / "last.pt") as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Take up the state in the run folder, if there is one.

        Raises:
            InputError: If the state is damaged or of another preset.
        """
        make_folder(self.config.out)
        path = self.config.out / "last.pt"
        if path.is_file():
            self._restore(path)
        self._started = time.monotonic()

    def _restore(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            preset = state["config"]["preset"]
        except Exception as error:  # damaged bytes surface as half a dozen types, all meaning the same
            raise InputError(
                f"{path} is damaged, so this run cannot go on; give --out another folder", code="bad-run"
            ) from error
        if preset != self.config.preset:
            raise InputError(
                f"the run in {path.parent} trains preset {preset!r}, not {self.config.preset!r}; "
                "give --out another folder, or --preset the same",
                code="preset-mismatch",
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self._banked_s = state["step"], state["elapsed_s"]

    def _facts(self) -> dict[str, object]:
        """The configuration in plain types, without the paths of this machine: weights travel."""
        return {k: v for k, v in dataclasses.asdict(self.config).items() if not isinstance(v, Path)}


def score(model: nn.Module, twins: list[Twin], device: torch.device, window: int) -> list[dict]:
    """Mean Dice per region and brain PSNR before and after restoration, per kind of case and severity.

    In windows of the training patch's size, as `segment` works: on `small`, four virtual patients went from a whole
    tumour Dice of 0.20 to 0.52 in one pass over the volume to 0.77 to 0.87 in windows of 96.
    """
    model.eval()
    groups: dict[tuple[str, int], list[list[float]]] = {}
    for twin in twins:
        corrupted = twin.corrupted.float()
        said = infer(model, corrupted, device=device, window=window)
        masks = said.probabilities.numpy() > 0.5
        scores = [dice(m, g.numpy()) for m, g in zip(masks, twin.case.regions, strict=True)]
        brain = twin.case.brain.numpy()
        for image in (corrupted.cpu(), said.restored):
            scores.append(_brain_psnr(image, twin.sharp.cpu().float(), brain))
        groups.setdefault(("real" if twin.case.real else "virtual", twin.severity), []).append(scores)
    names = [*REGIONS, "psnr_corrupted", "psnr_restored"]
    return [
        {"kind": kind, "severity": severity, "cases": len(rows)}
        | dict(zip(names, torch.tensor(rows).mean(0).tolist(), strict=True))
        for (kind, severity), rows in groups.items()
    ]


def _brain_psnr(image: Tensor, sharp: Tensor, brain: np.ndarray) -> float:
    """Mean over modalities, capped at 60 dB so that identical volumes do not make it infinite."""
    values = [psnr(a.numpy(), b.numpy(), brain) for a, b in zip(image, sharp, strict=True)]
    return sum(min(v, 60.0) for v in values) / len(values)


if __name__ == "__main__":
    run_command(main)
