"""Race: our network and MONAI's DynUNet trained for the same wall-clock time on the same cases, then scored.

    python Testing/benchmarks/race.py --data CASES --validation A B C D --minutes 30 --preset base
    python Testing/benchmarks/race.py --data CASES --validation A B C D --minutes 12 --preset small --patch 96 \
        --filters 16 32 64 128 256

Both see the same stream of patches under motion, the same losses with deep supervision, optimiser, schedule and weight
average; DynUNet restores nothing. Scores are in windows of the patch, at probability 0.5, without mirroring.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from DABSegCore.labels import REGIONS
from DABSegCore.models import Prediction
from DABSegCore.progress import Progress
from DABSegCore.training.config import TrainConfig, resolve
from DABSegCore.training.dataset import Cases
from DABSegCore.training.folder import Parts
from DABSegCore.training.processes import Processes, processes
from DABSegCore.training.run import Run
from DABSegCore.training.schedule import Clock, Schedule
from DABSegCore.training.setup import ValidationTwins, find_parts, training_cases
from DABSegCore.training.stream import PatchStream, Prefetched
from DABSegCore.training.validation import score_twin, summarise

SEVERITIES = (0, 2, 3)


class Peer(nn.Module):
    """MONAI's DynUNet, answering as our networks do; what it "restores" is its input.

    Args:
        filters: Channels by level, from full resolution down; four levels at least.
    """

    def __init__(self, filters: Sequence[int]) -> None:
        super().__init__()
        from monai.networks.nets import DynUNet

        levels = len(filters)
        self.net = DynUNet(
            spatial_dims=3,
            in_channels=4,
            out_channels=len(REGIONS),
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=list(filters),
            norm_name="instance",
            deep_supervision=True,
            deep_supr_num=2,
        )

    def forward(self, corrupted: Tensor) -> Prediction:
        """[B, M, D, H, W] -> logits [B, R, D, H, W], the input, and while training coarser logits."""
        out = self.net(corrupted)
        if not self.training:
            return Prediction(out, corrupted, ())
        finest, middle, coarsest = out.unbind(1)
        return Prediction(finest, corrupted, (coarsest, middle))


def main() -> None:
    """Run the command line."""
    args = _parse()
    progress = Progress()
    with processes(args.device) as group:
        asked = {"data": args.data, "validation": tuple(args.validation), "virtual": args.virtual}
        asked |= {"preset": args.preset, "patch": args.patch, "batch": args.batch, "total_minutes": args.minutes}
        config = resolve({k: v for k, v in asked.items() if v is not None}, on_gpu=group.device.type == "cuda")
        parts = find_parts(config, Path(), progress, resuming=False)
        cases = training_cases(config, parts, group, progress)
        torch.manual_seed(config.seed)
        forms = {config.preset: None, "DynUNet": Peer(args.filters)}
        rows = []
        for name, network in forms.items():
            run = go(config, group, cases, network)
            rows += [{"form": name, "run": run} | row for row in score(run, config, parts, group, progress)]
        _print(rows, args)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--validation", nargs="+", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--preset", default="base")
    parser.add_argument("--virtual", type=int, default=0)
    parser.add_argument("--patch", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--filters", type=int, nargs="+", default=[32, 64, 128, 256, 320])
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def go(config: TrainConfig, group: Processes, cases: Cases, network: nn.Module | None) -> Run:
    """Train one of them for the minutes of the schedule."""
    run = Run(config, group, Schedule(config, None), network)
    run.clock = Clock()
    patches = Prefetched(PatchStream(cases, config), group.places(config.batch, 1), 0, config.prefetch, group.device)
    while (share := run.schedule.share(run.step, run.clock.elapsed_s)) < 1:
        run.advance(patches.next(), share)
    patches.close()
    return run


def score(run: Run, config: TrainConfig, parts: Parts, group: Processes, progress: Progress) -> list[dict]:
    """Rows of `summarise` for the averaged weights."""
    twins = ValidationTwins(config, parts, group, progress, severities=SEVERITIES)
    with torch.no_grad():
        return summarise([score_twin(run.average, t, device=group.device, window=config.patch) for t in twins])


def _print(rows: list[dict], args: argparse.Namespace) -> None:
    print(f"\n{args.minutes:g} minutes each, torch {torch.__version__}")
    print(f"{'form':<10}{'weights':>9}{'steps':>8}  {'':<10}{'ET':>7}{'TC':>7}{'WT':>7}   restored dB")
    for row in rows:
        run = row["run"]
        millions = sum(p.numel() for p in run.model.parameters()) / 1e6
        dice = "".join(f"{row[region]:>7.3f}" for region in REGIONS)
        restored = f"{row['psnr_corrupted']:.2f} -> {row['psnr_restored']:.2f}"
        group = f"{row['cases']} {row['kind']} S{row['severity']}"
        print(f"{row['form']:<10}{millions:>7.1f} M{run.step:>8}  {group:<10}{dice}   {restored}")


if __name__ == "__main__":
    main()
