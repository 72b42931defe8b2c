"""Inference: one volume through the network, whole or in blended windows, within the memory there is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from DABSegCore.devices import half_dtype, is_out_of_memory, memory_format
from DABSegCore.errors import InputError
from DABSegCore.memory import available_memory
from DABSegCore.replay import WORTH, Forward, forget, recorded

WINDOWS = (128, 96, 64)
"""Window edges in voxels that are tried in turn when memory runs out."""

OVERLAP, LEAST_OVERLAP, MOST_OVERLAP = 0.5, 0.0, 0.9
"""Share of a window that its neighbour covers again: usual, and the bounds of what may be asked for."""

EXTRAS = ("uncertainty", "fused")
"""Fields of a `Prediction` that only some networks fill."""

Flip = tuple[int, ...]
Corner = tuple[int, int, int]


@dataclass(frozen=True)
class Plan:
    """One way to fit a volume into memory.

    Attributes:
        device: Where the network runs.
        window: Window edge in voxels, or None for the whole volume at once.
        batch: Windows and flips that go through the network together.
        accumulator: Where the blended sums are kept.
    """

    device: torch.device
    window: int | None
    batch: int
    accumulator: torch.device

    def __str__(self) -> str:
        extent = "the whole volume" if self.window is None else f"windows of {self.window} voxels"
        batch = f", {self.batch} at a time" if self.batch > 1 else ""
        sums = "" if self.accumulator == self.device else f", sums on {self.accumulator}"
        return f"{extent} on {self.device}{batch}{sums}"


@dataclass(frozen=True)
class Inferred:
    """What the network said.

    Attributes:
        probabilities: Region probabilities, float32 on the CPU [R, D, H, W].
        restored: Restored volumes, float32 on the CPU [M, D, H, W].
        plan: How it was computed in the end.
        precision: Number format of the heavy operations: "float32", "bfloat16" or "float16".
        extras: What only some networks give, by name, float32 on the CPU [C, D, H, W]: `EXTRAS` of `Prediction`.
    """

    probabilities: Tensor
    restored: Tensor
    plan: Plan
    precision: str
    extras: dict[str, Tensor] = field(default_factory=dict)


def infer(
    model: nn.Module,
    image: Tensor,
    *,
    device: torch.device | str = "cpu",
    window: int | None = None,
    overlap: float = OVERLAP,
    tta: bool = False,
    autocast: str = "auto",
    on_event: Callable[[str], None] = lambda text: None,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> Inferred:
    """Restore and segment one volume.

    Runs the whole volume where memory allows. When it runs out: windows of 128, 96, 64 voxels, then sums on
    the CPU, then everything on the CPU; each step down is announced. The network stays where it ran last.

    Args:
        model: Network in evaluation mode; gives `.logits` [B, R, D, H, W] and `.restored` [B, M, D, H, W].
        image: Four modalities in [0, 1], [M, D, H, W].
        device: Preferred device.
        window: Window edge in voxels to start with; None starts with the whole volume.
        overlap: Share of a window that its neighbour covers again, in [0, 1).
        tta: Average over the eight mirror images (flips of every subset of the three axes).
        autocast: "auto", "off", "bfloat16" or "float16".
        on_event: Receives one sentence for every change of plan.
        on_step: Receives (done, total) forward passes; (0, total) begins a plan.

    Raises:
        InputError: If even the smallest plan does not fit into memory, or the answer is not finite in float32.
    """
    device = torch.device(device)
    flips = _flips() if tta else [()]
    dtype = half_dtype(device, autocast)
    plans = _plans(model, image, device, window, len(flips), on_event)
    for i, plan in enumerate(plans):
        if plan.device != device:
            dtype = half_dtype(plan.device, autocast)
        try:
            result = _run(model, image, plan, overlap, flips, dtype, on_step, on_event)
            if dtype is not None and result is None:
                on_event(f"{_name(dtype)} overflowed; repeating in float32")
                result = _run(model, image, plan, overlap, flips, None, on_step, on_event)
            if result is None:
                raise InputError(
                    "the network's answer to this case holds NaN or Inf even in float32; "
                    "check the intensities of the images or use other weights",
                    code="not-finite",
                )
            return result
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the except block, so that the traceback no longer keeps the failed tensors alive.
        if plan.device.type == "cuda":
            forget(model)
            torch.cuda.empty_cache()
        if i + 1 < len(plans):
            on_event(f"out of memory with {plan}; trying {plans[i + 1]}")
    raise InputError(
        f"memory ran out even with {plans[-1]}; close other programs or use a machine with more memory",
        code="out-of-memory",
    )


def _plans(
    model: nn.Module,
    image: Tensor,
    device: torch.device,
    window: int | None,
    views: int,
    on_event: Callable[[str], None],
) -> list[Plan]:
    """The ladder of plans, roomiest first, for one volume [M, D, H, W]."""
    cpu = torch.device("cpu")
    largest = max(image.shape[1:])
    edges = [window, *(edge for edge in WINDOWS if window is None or edge < window)]
    # A window that covers the volume is the whole volume again.
    edges = list(dict.fromkeys(None if edge is None or edge >= largest else edge for edge in edges))
    if device.type == "cpu":
        if edges[0] is None and len(edges) > 1 and not _whole_fits(model, image):
            on_event("the whole volume may not fit into memory; using windows")
            edges = edges[1:]
        return [Plan(cpu, edge, 1, cpu) for edge in edges]
    plans = [Plan(device, edges[0], views, device)] if views > 1 else []
    plans += [Plan(device, edge, 1, device) for edge in edges]
    plans += [Plan(device, edges[-1], 1, cpu)]
    return plans + [Plan(cpu, edge, 1, cpu) for edge in (edges[1:] or edges)]


def _whole_fits(model: nn.Module, image: Tensor) -> bool:
    """Whether a forward of the whole volume is expected to fit; True where the machine does not say."""
    available = available_memory()
    if available is None:
        return True
    return bytes_per_voxel(model, image.shape[0]) * image[0].numel() < 0.8 * available


@torch.inference_mode()
def bytes_per_voxel(model: nn.Module, channels: int, edge: int = 32) -> float:
    """Rough peak memory of a forward per input voxel.

    Taken from the largest tensor any layer makes of a small probe: three of that size live at once (input, output,
    work space), beside 40 numbers a voxel for input, results and skips. Measured on a CPU in bytes per voxel, with
    this estimate in brackets: `small` 220 (208), `base` 2300 (3230), `paper` 1090 (2920).

    Args:
        model: The network; it is moved to the CPU.
        channels: Input channels M.
        edge: Edge of the probe in voxels.
    """
    largest = 0

    def note(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        model.to("cpu")(torch.zeros(1, channels, edge, edge, edge))
    finally:
        for hook in hooks:
            hook.remove()
    return 4 * (3 * largest / edge**3 + 40)  # float32


def _run(
    model: nn.Module,
    image: Tensor,
    plan: Plan,
    overlap: float,
    flips: Sequence[Flip],
    dtype: torch.dtype | None,
    on_step: Callable[[int, int], None],
    on_event: Callable[[str], None],
) -> Inferred | None:
    """One plan: every flip of every window, blended; None if the answer is not finite."""
    shape = tuple(image.shape[1:])
    size = shape if plan.window is None else tuple(min(plan.window, edge) for edge in shape)
    corners = _corners(shape, size, overlap)
    blend = _blend(size) if len(corners) > 1 else torch.ones(size)
    jobs = list(itertools.product(corners, flips))
    layout = memory_format(plan.device)
    model = model.to(plan.device, memory_format=layout)
    image, blend = image.to(plan.accumulator), blend.to(plan.accumulator)
    weight = torch.zeros(shape, device=plan.accumulator)
    sums: dict[str, Tensor] = {}
    on_step(0, len(jobs))
    with torch.inference_mode(), _deterministic():
        for start in range(0, len(jobs), plan.batch):
            chunk = jobs[start : start + plan.batch]
            views = torch.stack([image[_crop(corner, size)].flip(flip) for corner, flip in chunk])
            views = views.to(plan.device).contiguous(memory_format=layout)
            answer = _player(model, plan, views, len(jobs), dtype, on_event)(views)
            if not sums:
                sums = {k: torch.zeros(out.shape[1], *shape, device=plan.accumulator) for k, out in answer.items()}
            for i, (corner, flip) in enumerate(chunk):
                weight[_crop(corner, size)[1:]] += blend
                for name, total in sums.items():
                    total[_crop(corner, size)] += blend * answer[name][i].flip(flip).to(plan.accumulator)
            on_step(min(start + plan.batch, len(jobs)), len(jobs))
        means = {name: total.div_(weight) for name, total in sums.items()}
        if not all(bool(mean.isfinite().all()) for mean in means.values()):
            return None
        means = {name: mean.cpu() for name, mean in means.items()}
    return Inferred(means.pop("probabilities"), means.pop("restored"), plan, _name(dtype), means)


def _player(
    model: nn.Module,
    plan: Plan,
    views: Tensor,
    jobs: int,
    dtype: torch.dtype | None,
    on_event: Callable[[str], None],
) -> Forward:
    """How views are forwarded: on an NVIDIA GPU as recorded, where enough of one size follow each other."""

    def forward(x: Tensor) -> dict[str, Tensor]:
        return _forward(model, x, dtype)

    steady = getattr(model, "steady", False) and jobs >= WORTH * plan.batch and len(views) == plan.batch
    if plan.device.type != "cuda" or not steady:
        return forward
    return recorded(model, forward, views, (plan.device, dtype), on_event)


def _name(dtype: torch.dtype | None) -> str:
    """Number format as reports have it."""
    return str(dtype or torch.float32).removeprefix("torch.")


def _forward(model: nn.Module, views: Tensor, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Probabilities [B, R, D, H, W], restored volumes [B, M, D, H, W] and what else there is, float32, by name."""
    device = views.device.type
    context = nullcontext() if dtype is None else torch.autocast(device, dtype=dtype)
    with context:
        prediction = model(views)
    logits = prediction.logits.float()
    # An overflowed logit would pass for certainty (sigmoid of Inf is 1); times 0 it is NaN and gives itself away.
    extras = {name: getattr(prediction, name, None) for name in EXTRAS}
    return {
        "probabilities": logits.sigmoid() + 0 * logits,
        "restored": prediction.restored.float(),
        **{name: extra.float() for name, extra in extras.items() if extra is not None},
    }


def _deterministic() -> AbstractContextManager:
    """The same bytes on every run of one machine; cuDNN otherwise picks algorithms by stop-watch."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


def _flips() -> list[Flip]:
    """The eight subsets of the axes D, H, W of a tensor [M, D, H, W]."""
    return [axes for count in range(4) for axes in itertools.combinations((1, 2, 3), count)]


def _corners(shape: Sequence[int], size: Sequence[int], overlap: float) -> list[Corner]:
    """First voxels of evenly spread windows that cover the volume, with at least the overlap asked for."""

    def starts(length: int, edge: int) -> Iterator[int]:
        gaps = -(-(length - edge) // max(1, int(edge * (1 - overlap))))  # rounded up
        return (round(i * (length - edge) / max(gaps, 1)) for i in range(gaps + 1))

    return list(itertools.product(*(starts(length, edge) for length, edge in zip(shape, size, strict=True))))


def _crop(corner: Corner, size: Sequence[int]) -> tuple[slice, ...]:
    """Index of a window in a tensor [C, D, H, W]."""
    return (slice(None), *(slice(first, first + edge) for first, edge in zip(corner, size, strict=True)))


def _blend(size: Sequence[int]) -> Tensor:
    """Gaussian weights of a window [D, H, W], sigma an eighth of its edge: its middle knows most context.

    The corners weigh exp(-24), far above the smallest float32, so the division by the summed weights is safe.
    """
    profiles = [torch.exp(-0.5 * ((torch.arange(edge) - (edge - 1) / 2) / (edge / 8)) ** 2) for edge in size]
    return profiles[0][:, None, None] * profiles[1][:, None] * profiles[2]
