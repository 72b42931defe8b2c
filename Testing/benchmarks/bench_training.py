"""Benchmark: one training step of our presets beside the published network's, and the share of it spent on data.

    python Testing/benchmarks/bench_training.py                          (GPU: paper and base, batch 2, 128^3)
    python Testing/benchmarks/bench_training.py --presets small --size 96 --batch 1 --steps 6

`published` is the released network restated (Testing/published_reference.py) with its loss and optimiser, eager,
float32 (TF32 on a GPU, as ours), on a patch that is already there. Ours are steps of `DABSegCore.training.run.Run` as
`train` makes them, fed by the patch stream on virtual patients with motion, so that waiting for data shows. One form
runs after the other; medians are printed, and the peak of GPU memory where there is one.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from DABSegCore.losses import Objective, joint_loss
from DABSegCore.models import Prediction
from DABSegCore.training.config import TrainConfig, resolve
from DABSegCore.training.dataset import Cases, virtual_case
from DABSegCore.training.processes import Processes, processes
from DABSegCore.training.run import Run
from DABSegCore.training.schedule import Schedule
from DABSegCore.training.stream import PatchStream, Prefetched
from Testing.published_reference import PublishedNetwork


@dataclass
class Form:
    """Something that can be stepped.

    Attributes:
        step: Makes one step, returns the seconds it waited for data.
        close: Frees what it holds.
        seconds: Times of the steps so far.
        waited: Waits of the steps so far.
        peak_gib: Most GPU memory of a step.
    """

    step: Callable[[], float]
    close: Callable[[], None] = lambda: None
    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    peak_gib: float = 0.0


def main() -> None:
    """Run the command line."""
    args = _parse()
    with processes(args.device) as group:
        if group.device.type == "cuda":  # the published network is to be at its best
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        cases = _cases(group, args.cases)
        makers = {"published": partial(published, group, args)} if not args.no_published else {}
        makers |= {name: partial(ours, group, cases, name, args) for name in args.presets}
        forms = {}
        for name, make in makers.items():
            forms[name] = measure(make(), group, args.steps, args.warm_up)
        _print(forms, group, args)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--presets", nargs="+", default=["paper", "base"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=48, help="measured steps of each form")
    parser.add_argument("--warm-up", type=int, default=20, help="steps before these: fill the pool, compile")
    parser.add_argument("--cases", type=int, default=8, help="virtual patients to draw from")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-published", action="store_true")
    return parser.parse_args()


def _cases(group: Processes, count: int) -> Cases:
    readers = [partial(virtual_case, seed) for seed in range(count)]
    return Cases(readers, [str(seed) for seed in range(count)], [False] * count, group.device, on_fault=print)


def published(group: Processes, args: argparse.Namespace) -> Form:
    """A step of the published network: its Dice, L1 over the crop, Adam with amsgrad."""
    torch.manual_seed(0)
    network = PublishedNetwork().train().to(group.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, weight_decay=1e-5, amsgrad=True)
    shape = (args.batch, 4, args.size, args.size, args.size)
    sharp = torch.rand(shape, device=group.device)
    target = (torch.rand((args.batch, 3, *shape[2:]), device=group.device) > 0.9).float()
    objective = Objective(batch_dice=False, bce=False, brain_only=False)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        logits, restored = network(sharp)
        loss, _ = joint_loss(Prediction(logits, restored, ()), target, sharp, sharp[:, :1], objective)
        loss.backward()
        optimiser.step()
        return 0.0

    return Form(step)


def ours(group: Processes, cases: Cases, preset: str, args: argparse.Namespace) -> Form:
    """A step of a preset, data and motion included."""
    asked = {"preset": preset, "patch": args.size, "batch": args.batch, "steps": 10**6, "compile": args.compile}
    config: TrainConfig = resolve(asked, on_gpu=group.device.type == "cuda")
    run = Run(config, group, Schedule(config, config.steps))
    patches = Prefetched(PatchStream(cases, config), group.places(config.batch, 1), 0, config.prefetch, group.device)

    def step() -> float:
        before = patches.waited_s
        run.advance(patches.next(), share=0.1)
        return patches.waited_s - before

    return Form(step, patches.close)


def measure(form: Form, group: Processes, steps: int, warm_up: int) -> Form:
    """Step a form, time it, and let its network go, so that the next has the memory to itself."""
    for _ in range(warm_up):
        form.step()
    if group.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(steps):
        _synchronise(group)
        began = time.perf_counter()
        form.waited.append(form.step())
        _synchronise(group)
        form.seconds.append(time.perf_counter() - began)
    if group.device.type == "cuda":
        form.peak_gib = torch.cuda.max_memory_allocated() / 2**30
    form.close()
    del form.step, form.close
    gc.collect()
    return form


def _synchronise(group: Processes) -> None:
    if group.device.type == "cuda":
        torch.cuda.synchronize()


def _print(forms: dict[str, Form], group: Processes, args: argparse.Namespace) -> None:
    first = statistics.median(next(iter(forms.values())).seconds)
    print(f"\nbatch {args.batch}, {args.size}^3 on {group.device}, torch {torch.__version__}", end="")
    print(f", {torch.get_num_threads()} threads, {'compiled' if args.compile else 'eager'}")
    print(
        f"{'form':<12}{'median ms':>10}{'mean':>8}{'max':>8}{'waiting':>9}{'peak GiB':>10}   {next(iter(forms))} / this"
    )
    for name, form in forms.items():
        median, mean = statistics.median(form.seconds), statistics.mean(form.seconds)
        waiting = sum(form.waited) / sum(form.seconds)
        times = f"{1e3 * median:>10.0f}{1e3 * mean:>8.0f}{1e3 * max(form.seconds):>8.0f}"
        print(f"{name:<12}{times}{waiting:>9.1%}{form.peak_gib:>10.1f}{first / median:>12.2f}")


if __name__ == "__main__":
    main()
