"""Run: the state of one training - network, its average, optimiser, step, clock - one step of it, and its file."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from DABSegCore.checkpoint import load_checkpoint, preset_name, write_torch_file
from DABSegCore.devices import half_dtype, memory_format
from DABSegCore.errors import InputError
from DABSegCore.labels import MODALITIES
from DABSegCore.losses import Objective, joint_loss
from DABSegCore.models import Network, build_model
from DABSegCore.models.prediction import Truth
from DABSegCore.models.twostage import TwoStage
from DABSegCore.networks import NETWORKS, AnyConfig, TwoStageConfig, as_plain, config_from, family_of
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.processes import Processes
from DABSegCore.training.schedule import Clock, Schedule
from DABSegCore.training.stream import Patch, generator_of

STATE = "state.pt"
"""File of a run's state in its folder."""

FORMAT_VERSION = 2
MOST_SKIPPED = 20
"""Steps in a row whose gradient may be infinite or not a number; they change nothing."""


class Run:
    """One training.

    Args:
        config: What to train and how.
        processes: Who takes part.
        schedule: How long.
        saved: State of the run that goes on, for `restore` follows; so the checkpoints of `--init` and `--restorer`
            need not be there any more.

    Attributes:
        network: Configuration of the network.
        average: Moving average of the weights: what is validated and kept.
        step: Steps done.
        best: Best mean Dice of a validation so far, -1 before the first.
        validated: Step of the last validation.
        pending: Logs of the steps since the last row, kept in the file so that a resumed run writes the same row.
    """

    def __init__(
        self,
        config: TrainConfig,
        processes: Processes,
        schedule: Schedule,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        self.config, self.processes, self.schedule = config, processes, schedule
        self.device = processes.device
        torch.manual_seed(config.seed)
        model = _network(config) if saved is None else build_model(_saved_network(saved))
        self.network: AnyConfig = model.config
        self.layout = memory_format(self.device)
        self.model = model.to(self.device, memory_format=self.layout)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimiser = _optimiser(self.model, config, self.device)
        self._network = self._prepared()
        self.dtype = training_dtype(self.device, config.patch) if config.mixed else None
        self.clock = Clock()
        self.step, self.best, self.validated, self.skipped = 0, -1.0, -1, 0
        self.pending: list[dict[str, Tensor]] = []

    def _prepared(self) -> nn.Module:
        """The network as steps call it: compiled where asked, gradients shared between processes."""
        network = self.model
        if self.config.compile:
            with torch.no_grad():  # makes the tables of windows; a compiler that finds them new works twice
                self.average.eval()(torch.zeros(1, len(MODALITIES), *[self.config.patch] * 3, device=self.device))
            network = torch.compile(network, dynamic=False)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
        return self.processes.wrap(network)

    def advance(self, parts: list[Patch], share: float) -> dict[str, Tensor]:
        """One optimisation step.

        Args:
            parts: Patches of this process, by part.
            share: How much of the schedule is done.

        Returns:
            Numbers for the log, as tensors on the device: loss, seg, rec, dice [R], gain_db, grad_norm; and feat
            where it counts.

        Raises:
            InputError: If the loss is not a number, or the gradient was not for many steps in a row.
        """
        torch.manual_seed(int(generator_of(self.config.seed, "step", self.step, self.processes.rank).initial_seed()))
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.learning_rate(self.step, share)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        with _compiling():
            logs = [self._backward(part, share, 1 / len(parts)) for part in parts]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or float("inf"))
        log = {name: torch.stack([entry[name] for entry in logs]).mean(0) for name in logs[0]}
        self._check(log["loss"], norm, parts)
        self.step += 1
        if not self.skipped:
            self.optimiser.step()
            self._update_average()
        return {**log, "grad_norm": norm.detach()}

    def _backward(self, patch: Patch, share: float, weight: float) -> dict[str, Tensor]:
        """Gradients of one part's loss; returns its log."""
        late = self.schedule.is_late(share)
        objective = Objective(
            region_weights=self.config.late_region_weights if late else self.config.region_weights,
            lambda_rec=self.config.lambda_rec,
            batch_dice=self.config.batch_dice,
            bce=self.config.bce,
            brain_only=self.config.rec_over == "brain",
            lambda_feat=self.config.lambda_feat,
        )
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            told = self.model.wants_truth or self.config.lambda_feat > 0
            truth = (Truth(patch.regions, patch.sharp, patch.brain),) if told else ()
            prediction = self._network(patch.corrupted.to(memory_format=self.layout), *truth)
        loss, log = joint_loss(
            prediction, patch.regions, patch.sharp, patch.brain, objective, total=self.processes.total
        )
        if prediction.own_loss is not None:
            loss = loss + prediction.own_loss
        (loss * weight).backward()
        return {"loss": loss.detach(), **log, "gain_db": _gain_db(prediction.restored, patch)}

    def _check(self, loss: Tensor, norm: Tensor, parts: list[Patch]) -> None:
        """Stop at a loss that is no number, skip steps whose gradient is not finite, and stop when they pile up."""
        wrong = torch.stack([~loss.isfinite(), ~norm.isfinite()]).float()
        own_loss, wrong_loss, wrong_gradient = torch.cat([wrong[:1], self.processes.largest(wrong)]).bool().tolist()
        if wrong_loss:
            names = ", ".join(name for patch in parts for name in patch.names) if own_loss else "another process"
            raise InputError(
                f"the loss is not a number at step {self.step}, on patches of {names}; the last checkpoint is "
                "from before: look at these images, or lower --learning-rate in another run",
                code="diverged",
            )
        self.skipped = self.skipped + 1 if wrong_gradient else 0
        if self.skipped >= MOST_SKIPPED:
            raise InputError(
                f"{self.skipped} steps in a row had a gradient that is not finite, at step {self.step}; the last "
                "checkpoint is from before: lower --learning-rate in another run",
                code="diverged",
            )

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the weights; slowly only once there is something worth keeping."""
        decay = min(self.config.ema, self.step / (self.step + 10))
        ours, theirs = (m.state_dict(keep_vars=True).values() for m in (self.average, self.model))
        # DynUNet names its layers twice: each is averaged once.
        pairs = list({id(a): (a, b) for a, b in zip(ours, theirs, strict=True)}.values())
        moved = [(a, b) for a, b in pairs if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in moved], [b for _, b in moved], 1 - decay)
        for a, b in pairs:
            if not a.is_floating_point():
                a.copy_(b)

    def save(self, out: Path) -> None:
        """Write the state, whole or not at all; leading process only.

        Raises:
            InputError: If it cannot be written, say for a full disk; the one before is then still there.
        """
        if not self.processes.leads:
            return
        state = {
            "format_version": FORMAT_VERSION,
            "config": self.config.as_dict(),
            "network": {"family": family_of(self.network), **as_plain(self.network)},
            "steps": self.schedule.steps,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.clock.elapsed_s,
            "best": self.best,
            "validated": self.validated,
            "skipped": self.skipped,
            "pending": self.pending,
        }
        write_torch_file(out / STATE, state)

    def restore(self, state: dict[str, Any], place: Path) -> None:
        """Take up a state that `read_state` read from the folder `place`.

        Raises:
            InputError: If it does not fit the network.
        """
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.skipped = state["step"], state["skipped"]
            self.best, self.validated = state["best"], state["validated"]
            logs = state.get("pending", [])
            self.pending = [{name: value.to(self.device) for name, value in log.items()} for log in logs]
            self.clock.banked_s = state["elapsed_s"]
        except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise _damaged(place / STATE) from error


def _network(config: TrainConfig) -> Network:
    """The network of a new run: fresh or from `--init`, behind the restorer of `--restorer` where one is given.

    Raises:
        InputError: If a checkpoint cannot be used, is of another network, or restores nothing; or if features shall be
            compared of a network that shows none.
    """
    wanted = NETWORKS[config.preset]
    model = build_model(wanted) if config.init is None else load_checkpoint(config.init, expect_preset=config.preset)[0]
    if config.lambda_feat and not model.shows_features:
        raise InputError(
            f"--lambda-feat compares features of DABSeg's encoder, and --preset {config.preset} has none; leave it "
            "out, or train DABSeg or its trunk (dami-*)",
            code="no-features",
        )
    if config.restorer is None:
        return model
    restorer, _ = load_checkpoint(config.restorer)
    if not restorer.restores or isinstance(restorer.config, TwoStageConfig):
        raise InputError(
            f"--restorer {config.restorer} holds {preset_name(restorer.config)}, which is no restorer of one stage; "
            "give the checkpoint of one, say of --preset nafnet",
            code="no-restorer",
        )
    if not model.outlines:
        raise InputError(
            f"--preset {config.preset} outlines nothing, so it cannot follow a restorer; choose a network that does",
            code="no-segmenter",
        )
    return TwoStage(TwoStageConfig(restorer.config, wanted), restorer, model)


def _saved_network(saved: Mapping[str, Any]) -> AnyConfig:
    """Configuration of the network whose weights a state holds."""
    plain = dict(saved["network"])
    return config_from(plain.pop("family", None), plain)


@contextmanager
def _compiling() -> Iterator[None]:
    """Say in a sentence what torch.compile could not do; its own words fill screens."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        last = str(error).strip().splitlines()[0]
        raise InputError(
            f"torch.compile of PyTorch {torch.__version__} cannot compile this training ({last}); leave --compile out",
            code="cannot-compile",
        ) from error


def read_state(out: Path) -> dict[str, Any]:
    """The state of the run in a folder; nothing in the file is executed.

    Raises:
        InputError: If there is none, or it is damaged.
    """
    path = out / STATE
    if not path.is_file():
        raise InputError(
            f"{out} holds no run to go on with, that is no {STATE}; check --resume, or begin one with --out",
            code="no-run",
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format_version"] != FORMAT_VERSION or not isinstance(state["config"], dict):
            raise ValueError("another format")
        if not isinstance(state["steps"], int | None) or not isinstance(state["network"], dict):
            raise ValueError("no length or no network")
        _saved_network(state)
    except Exception as error:  # damaged bytes surface as half a dozen types, all meaning the same
        raise _damaged(path) from error
    return state


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{path} is damaged or of another version, so this run cannot go on; start another, which may begin with its "
        f"weights by --init {path.parent / 'last.pt'}",
        code="bad-run",
    )


def training_dtype(device: torch.device, patch: int) -> torch.dtype | None:
    """Number format of the heavy operations in training: bfloat16 where it pays, else None for float32.

    Float16 gradients would need loss scaling, so that is never used. On CPUs the bfloat16 weight gradient of a 3x3x3
    convolution on a 2x2x2 grid reads memory nobody wrote (oneDNN in torch 2.13); patches under 96 have such a level.
    """
    dtype = half_dtype(device, "auto")
    safe = device.type != "cpu" or patch >= 96
    return dtype if dtype is torch.bfloat16 and safe else None


def _optimiser(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimiser]
    return kind(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        amsgrad=config.optimiser == "adam",
        fused=device.type == "cuda" or None,
    )


@torch.no_grad()
def _gain_db(restored: Tensor, patch: Patch) -> Tensor:
    """How much nearer to sharp the patches of a part became, in dB of PSNR in the brain; 0 where none was blurred."""

    def error(image: Tensor) -> Tensor:
        return ((image.float() - patch.sharp).square() * patch.brain).sum()

    before, after = error(patch.corrupted), error(restored)
    return torch.where(before > 0, 10 * (before / after.clamp_min(1e-12)).log10(), torch.zeros_like(before))
