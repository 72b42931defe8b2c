"""Forms: what the benchmark runs, part by part, each ready to be called again and again."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from DABSegCore.checkpoint import shipped_weights
from DABSegCore.config import BASE, PRESETS
from DABSegCore.devices import half_dtype, memory_format
from DABSegCore.inference import infer
from DABSegCore.losses import Objective, joint_loss
from DABSegCore.models import Prediction, build_model
from DABSegCore.motion import corrupt_case
from DABSegCore.networks import NETWORKS
from DABSegCore.phantom import virtual_patient
from DABSegCore.preprocess import prepare
from DABSegCore.replay import Replay
from DABSegCore.training.run import training_dtype
from Testing.published_reference import PublishedNetwork

CASE = (138, 172, 140)
"""Voxels of a brain's box, as a case is after cropping."""

WINDOWS = {"small": 96}
"""Window edge of the presets that do not use 128."""

EDGES = (96, 128, 160, 192, 224, 256)
"""Of the cubes by which `size` shows how cost grows."""

USUAL_MEMORY = ("published",)
"""Forms that return freed memory to the system at once, as programs usually do."""

KEPT = "published, memory kept"
"""The published form with our way of keeping freed memory, which is not a matter of the network."""

VARIANTS = {
    "base": BASE,
    "windows of 8": replace(BASE, window=8),
    "cross-attention in pairs": replace(BASE, cross="pairs"),
    "depthwise feed-forward": replace(BASE, mlp="depthwise"),
    "full-resolution tail": replace(BASE, tail="full"),
    "published stem": replace(BASE, stem="fdmds", stem_width=16),
}
"""The figures behind the choices in `DABSegCore/config.py`."""


@dataclass(frozen=True)
class Ask:
    """What the command line asks for."""

    presets: tuple[str, ...]
    peers: tuple[str, ...]
    published: bool
    size: int
    step_size: int | None
    batch: int | None
    device: torch.device
    compile: bool = False

    @property
    def names(self) -> list[str]:
        """Every network, the published one first."""
        return list(dict.fromkeys([*(["published"] if self.published else []), *self.presets, *self.peers]))

    @property
    def on_gpu(self) -> bool:
        """Whether a GPU computes."""
        return self.device.type == "cuda"


@dataclass(frozen=True)
class Form:
    """One thing to measure.

    Attributes:
        run: Does it once.
        amount: How much work that is, in units.
        unit: What of.
    """

    run: Callable[[], object]
    amount: float = 1.0
    unit: str = "run"


Makers = dict[str, Callable[[], Form]]


class Published(nn.Module):
    """The published network, answering as ours do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = PublishedNetwork()

    def forward(self, x: Tensor) -> Prediction:
        """[B, 4, D, H, W] -> its logits and restored volumes."""
        return Prediction(*self.net(x), ())


def make_forms(part: str, ask: Ask) -> Makers:
    """What makes the forms of a part, by name; the first is what the others are compared with."""
    return PARTS[part](ask)


def _forwards(ask: Ask) -> Makers:
    """One forward of a cube; ours and MONAI's in 16 bits where the machine multiplies them, and in float32."""
    makers: Makers = {}
    if ask.published and not ask.on_gpu:
        makers[KEPT] = partial(one_forward, "published", ask.size, ask.device, False)
    for name in ask.names:
        if name != "published" and half_dtype(ask.device) is not None:
            makers[name] = partial(one_forward, name, ask.size, ask.device, True)
        label = name if name == "published" else f"{name}, float32"
        makers[label] = partial(one_forward, name, ask.size, ask.device, False)
        if ask.on_gpu and name in PRESETS:
            makers[f"{name}, recorded"] = partial(one_forward, name, ask.size, ask.device, True, recorded=True)
        if ask.compile:
            half = name != "published" and half_dtype(ask.device) is not None
            makers[f"{name}, compiled"] = partial(one_forward, name, ask.size, ask.device, half, compiled=True)
    return dict(sorted(makers.items(), key=lambda item: item[0] != "published"))


def _steps(ask: Ask) -> Makers:
    size, batch = ask.step_size or (128 if ask.on_gpu else 96), ask.batch or (2 if ask.on_gpu else 1)
    names = {name: name for name in ask.names}
    if ask.published and not ask.on_gpu:
        names[KEPT] = "published"
    makers: Makers = {label: partial(_step, name, size, batch, ask.device) for label, name in names.items()}
    if ask.compile:
        makers |= {f"{n}, compiled": partial(_step, n, size, batch, ask.device, compiled=True) for n in ask.presets}
    return makers


def _cases(ask: Ask) -> Makers:
    """A brain's box; on a CPU only of `small`, since the others take minutes."""
    names = ask.names if ask.on_gpu else [name for name in ask.presets if name == "small"] or list(ask.presets)
    makers: Makers = {name: partial(_case, name, CASE, ask, tta=False) for name in names}
    mirrored = [name for name in names if name != "published"]
    makers |= {f"{name}, mirrored": partial(_case, name, CASE, ask, tta=True) for name in mirrored}
    if ask.on_gpu:
        makers |= {f"{name}, whole": partial(_case, name, CASE, ask, tta=False, whole=True) for name in names}
        makers |= {f"{n}, whole, mirrored": partial(_case, n, CASE, ask, tta=True, whole=True) for n in mirrored}
    return makers


def _sizes(ask: Ask) -> Makers:
    """Cubes of growing edge."""
    names = ask.presets if ask.on_gpu else [name for name in ask.presets if name == "small"] or ask.presets
    return {f"{n}, {edge}^3": partial(_case, n, (edge,) * 3, ask, tta=False) for n in names for edge in EDGES}


def _batches(ask: Ask) -> Makers:
    names = ask.presets if ask.on_gpu else [name for name in ask.presets if name == "small"] or ask.presets
    half = half_dtype(ask.device) is not None
    size = min(ask.size, 96) if not ask.on_gpu else ask.size
    return {
        f"{name}, batch {count}": partial(one_forward, name, size, ask.device, half, count)
        for name in names
        for count in (1, 2, 4, 8)
    }


def _variants(ask: Ask) -> Makers:
    half = half_dtype(ask.device) is not None
    return {
        f"{name}, {kind}": partial(one_forward, name, ask.size, ask.device, kind == "autocast")
        for name in VARIANTS
        for kind in (["float32", "autocast"] if half else ["float32"])
    }


def _network(name: str, device: torch.device) -> nn.Module:
    """A network with fresh weights, in the memory format that `inference` chooses; the published one as published."""
    torch.manual_seed(0)
    if name == "published":
        return Published().to(device)
    return build_model(VARIANTS.get(name) or NETWORKS[name]).to(device, memory_format=memory_format(device))


def one_forward(
    name: str,
    size: int,
    device: torch.device,
    half: bool,
    count: int = 1,
    *,
    compiled: bool = False,
    recorded: bool = False,
) -> Form:
    """One forward of cubes; a compiled one compiles in the round that warms up, a recorded one is recorded here."""
    model, x = _network(name, device).eval(), torch.rand(count, 4, size, size, size, device=device)
    if name != "published":
        x = x.contiguous(memory_format=memory_format(device))
    dtype = half_dtype(device) if half else None
    if compiled:
        with torch.inference_mode():
            model(x)  # makes the tables of windows; a compiler that finds them new works twice
    network = torch.compile(model, dynamic=False) if compiled else model

    @torch.inference_mode()
    def run() -> object:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            return network(x)

    if not recorded:
        return Form(run, count, "patch")

    def forward(views: Tensor) -> dict[str, Tensor]:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            said = model(views)
        return {"logits": said.logits, "restored": said.restored}

    with torch.inference_mode():
        replay = Replay(forward, x)
    return Form(torch.inference_mode()(lambda: replay(x)), count, "patch")


def _step(name: str, size: int, batch: int, device: torch.device, *, compiled: bool = False) -> Form:
    """One training step on a patch that is already there: ours with our loss, the published one with its own."""
    model = _network(name, device).train()
    if compiled:
        with torch.no_grad():
            model(torch.zeros(1, 4, size, size, size, device=device))  # as above
    network = torch.compile(model, dynamic=False) if compiled else model
    published = name == "published"
    x = torch.rand(batch, 4, size, size, size, device=device)
    target = (torch.rand(batch, 3, size, size, size, device=device) > 0.9).float()
    objective = Objective(batch_dice=False, bce=False, brain_only=False) if published else Objective()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device.type == "cuda" or None)
    if published:
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-5, amsgrad=True)
    dtype = None if published else training_dtype(device, size)

    def run() -> object:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            said = network(x)
        loss, _ = joint_loss(said, target, x, x[:, :1], objective)
        loss.backward()
        optimiser.step()
        return loss.item()

    return Form(run, batch, "patch")


def _case(name: str, shape: tuple[int, ...], ask: Ask, *, tta: bool, whole: bool = False) -> Form:
    """A volume in overlapping windows or whole, to probabilities and restored volumes on the CPU."""
    model, image = _network(name, ask.device).eval(), torch.rand(4, *shape)
    window = None if whole else min(ask.size, WINDOWS.get(name, 128))
    how = "off" if name == "published" else "auto"
    run = partial(infer, model, image, device=ask.device, window=window, tta=tta, autocast=how)
    return Form(run, image[0].numel() / 1e6, "Mvoxel")


def _motion(ask: Ask) -> Makers:
    """Four modalities of 240 x 240 x 155 voxels blurred at S2."""

    def make() -> Form:
        images = torch.from_numpy(virtual_patient(0).images).to(ask.device)
        return Form(lambda: corrupt_case(images, (1.0, 1.0, 1.0), 2, "bench"))

    return {"S2, four modalities": make}


def _prepare(ask: Ask) -> Makers:
    """Four modalities of 240 x 240 x 155 voxels to the working grid and intensity window."""

    def make() -> Form:
        patient = virtual_patient(0)
        return Form(lambda: prepare(patient.images, patient.affine))

    return {"working grid and intensities": make}


def _start(ask: Ask) -> Makers:
    """A fresh Python until the network that ships could run."""
    words = "import sys; from pathlib import Path; from DABSegCore.checkpoint import load_checkpoint; "
    words += "load_checkpoint(Path(sys.argv[1]))"
    run = partial(subprocess.run, [sys.executable, "-c", words, str(shipped_weights())], check=True, cwd=_repository())
    return {"process until weights are loaded": lambda: Form(run)}


def _command(ask: Ask) -> Makers:
    """`segment --case` with the weights that ship, from the start of the process to its end."""
    return {"segment --case": lambda: Form(partial(_segment, ask, 1), 1, "case")}


def _cohort(ask: Ask) -> Makers:
    """`segment --data` on growing folders: what one more case costs is their difference."""
    forms = {f"{n} cases, 1 process": partial(Form, partial(_segment, ask, n), n, "case") for n in (1, 2, 4)}
    return forms | {f"4 cases, {n} processes": partial(Form, partial(_segment, ask, 4, n), 4, "case") for n in (2,)}


def _segment(ask: Ask, count: int, processes: int = 1) -> None:
    """Segment virtual patients of 240 x 240 x 155 voxels as the command line does."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        for seed in range(count):
            (data / f"Virtual_{seed:03d}").symlink_to(_patient(seed), target_is_directory=True)
        words = ("DABSegCore.segment", "--data", data, "--out", Path(folder) / "out", "--device", ask.device.type)
        _run(*(("torch.distributed.run", f"--nproc-per-node={processes}", "-m") if processes > 1 else ()), *words)


@cache
def _patient(seed: int) -> Path:
    """Folder of a virtual patient, made once and kept while the benchmark runs."""
    _run("DABSegCore.virtual", "--seed", seed, "--out", _patients())
    return _patients() / f"Virtual_{seed:03d}"


@cache
def _patients() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dabseg-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _run(module: str, *words: object) -> None:
    command = [sys.executable, "-m", module, *map(str, words), "--progress", "quiet"]
    subprocess.run(command, check=True, cwd=_repository())


def _repository() -> Path:
    return Path(__file__).parents[2]


PARTS: dict[str, Callable[[Ask], Makers]] = {
    "forward": _forwards,
    "step": _steps,
    "case": _cases,
    "motion": _motion,
    "prepare": _prepare,
    "start": _start,
    "command": _command,
    "size": _sizes,
    "batch": _batches,
    "cohort": _cohort,
    "variants": _variants,
}

ORDINARY = ("forward", "step", "case", "motion", "prepare", "start", "command")
"""Parts that run when none are named."""
