"""Stream: aligned patches of blurred twins; which patch comes at which step is a function of seed and step alone.

Motion is simulated on whole volumes only (k-space has no meaning in a patch) and costs more than cutting a patch, so a
blurred twin serves several steps. A step's patches have places 0 to batch - 1; every place has a small pool of twins of
its own, into which a fresh one enters every few steps. So any process can make the patches of its places for any step,
without having made those before: a resumed run sees what the one that was killed would have seen, and N processes see
together what one would.
"""

from __future__ import annotations

import queue
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from DABSegCore.errors import InputError
from DABSegCore.training.augment import (
    change_intensity,
    random_bias,
    random_flips,
    random_intensity,
    random_theta,
    sample_patch,
)
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.dataset import Cases, Twin, make_twin, regions_of

Choice = TypeVar("Choice")

MOST_VIRTUAL = 0.5
"""Virtual patients are at most this share of the draws, however many there are."""


@dataclass(frozen=True)
class Patch:
    """Aligned crops of a few twins.

    Attributes:
        corrupted: [B, M, P, P, P] float32 in [0, 1].
        sharp: Same.
        regions: [B, R, P, P, P] float32.
        brain: [B, 1, P, P, P] float32.
        names: Where each comes from, for a message.
    """

    corrupted: Tensor
    sharp: Tensor
    regions: Tensor
    brain: Tensor
    names: tuple[str, ...]


def generator_of(*words: int | str) -> torch.Generator:
    """A generator that depends on nothing but the words, on any machine."""
    numbers = [zlib.crc32(word.encode()) if isinstance(word, str) else word for word in words]
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


class PatchStream:
    """Patches by step, and the twins they are cut from.

    Args:
        cases: What to draw from.
        config: Patch, batch, severities, pool and so on.
    """

    def __init__(self, cases: Cases, config: TrainConfig) -> None:
        self.cases, self.config = cases, config
        self.pool = max(1, config.pool // config.batch)
        self._twins: dict[tuple[int, int], Twin] = {}
        share = min(MOST_VIRTUAL, len(cases.virtual) / len(cases)) if cases.real else 1.0
        self._virtual_share = share if cases.virtual else 0.0

    def parts(self, step: int, places: Sequence[Sequence[int]]) -> list[Patch]:
        """The patches of a step.

        Args:
            step: From 0 on.
            places: The places wanted, by part: a part is run through the network at once.
        """
        return [self._batch([self._crop(step, place) for place in part]) for part in places]

    def _batch(self, crops: list[tuple[Twin, tuple[Tensor, ...]]]) -> Patch:
        tensors = (torch.stack(parts) for parts in zip(*(crop for _, crop in crops), strict=True))
        return Patch(*tensors, names=tuple(f"{twin.case.case_id} (S{twin.severity})" for twin, _ in crops))

    def _crop(self, step: int, place: int) -> tuple[Twin, tuple[Tensor, ...]]:
        generator = generator_of(self.config.seed, "patch", step, place)
        first, last = self._window(step)
        twin = self._twin(place, first + int(torch.randint(last - first + 1, (), generator=generator)))
        for key in [key for key in self._twins if key[0] == place and key[1] < first]:
            del self._twins[key]
        return twin, cut_patch(
            twin,
            self.config.patch,
            generator,
            tumour_share=self.config.tumour_share,
            augment=self.config.augment,
            aligned=self.config.aligned,
        )

    def _window(self, step: int) -> tuple[int, int]:
        """First and last twin in a place's pool: it fills step by step, then one enters as the oldest leaves."""
        filling = min(step, self.pool - 1)
        last = filling + (step - filling) // self.config.patches_per_twin
        return max(0, last - self.pool + 1), last

    def _twin(self, place: int, number: int) -> Twin:
        """A place's twin of that number; made when first wanted, which after a resume may be later than usual."""
        if (place, number) not in self._twins:
            self._twins[place, number] = self._draw(number * self.config.batch + place)
        return self._twins[place, number]

    def _draw(self, n: int) -> Twin:
        """The n-th twin of all places together; a case that cannot be used hands over to the next."""
        severity = self._one_of(self.config.severities, "severity", n)
        cause = self._one_of(self.config.degrade, "degrade", n)
        for attempt in range(len(self.cases)):
            case = self.cases[self.pick(n, attempt)]
            if case is not None:
                return make_twin(case, severity, self.config.seed, n if self.config.fresh_motion else 0, cause)
        raise InputError("no training case can be used any more; the sentences above say why", code="no-cases")

    def _one_of(self, choices: Sequence[Choice], word: str, n: int) -> Choice:
        """The n-th draw from a list; the word is part of the seed."""
        return choices[int(torch.randint(len(choices), (), generator=generator_of(self.config.seed, word, n)))]

    def pick(self, n: int, attempt: int = 0) -> int:
        """Index of the case of the n-th twin: real and virtual ones by share, each kind in a new order every round."""
        virtual = int((n + 1) * self._virtual_share + 1e-9) > int(n * self._virtual_share + 1e-9)
        before = int(n * self._virtual_share + 1e-9)
        kind, at = (self.cases.virtual, before) if virtual else (self.cases.real, n - before)
        order = torch.randperm(len(kind), generator=generator_of(self.config.seed, "order", at // len(kind), virtual))
        chosen = kind[int(order[at % len(kind)])]
        return (chosen + attempt) % len(self.cases)


def cut_patch(
    twin: Twin,
    size: int,
    generator: torch.Generator,
    *,
    tumour_share: float = 0.6,
    augment: bool = True,
    aligned: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One patch: corrupted, sharp [M, P, P, P], regions [R, P, P, P], brain [1, P, P, P], all cut and changed alike.

    Args:
        twin: What to cut from.
        size: Edge P in voxels.
        generator: Source of chance.
        tumour_share: Share of patches centred near a voxel of a random region, so that small ones are seen.
        augment: Flip, rotate, scale, and change intensities.
        aligned: Cut the sharp images where the corrupted ones are. The published code draws two places, so what its
            restored patches are compared with is another part of the head; False does that, for comparison.
    """
    center = _center(twin, size, generator, tumour_share)
    chance = generator.get_state()
    corrupted, sharp, masks = _cut(twin, center, size, generator, augment)
    if not aligned:
        elsewhere = _center(twin, size, generator, tumour_share)
        generator.set_state(chance)  # turned, scaled and coloured alike: the place alone differs
        sharp = _cut(twin, elsewhere, size, generator, augment)[1]
    return corrupted, sharp, masks[:-1], masks[-1:]


def _cut(
    twin: Twin, center: Tensor, size: int, generator: torch.Generator, augment: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Corrupted and sharp [M, P, P, P], and masks of regions and brain [R + 1, P, P, P], around a voxel."""
    warped = augment and bool(torch.rand((), generator=generator) < 0.25)
    theta = random_theta(generator) if warped else torch.eye(3)
    reach = _reach(theta, size) if warped else size
    corner = (center - reach / 2).round().int().tolist()
    images = torch.cat([_cube(twin.corrupted, corner, reach), _cube(twin.sharp, corner, reach)]).float()
    brain = (_cube(twin.case.images, corner, reach) != 0).any(0, keepdim=True)
    masks = torch.cat([regions_of(_cube(twin.case.label[None], corner, reach)[0]), brain]).float()
    if warped:
        middle = torch.full((3,), (reach - 1) / 2)
        images = sample_patch(images, middle, size, theta)
        masks = sample_patch(masks, middle, size, theta, nearest=True)
    images = images * masks[-1:]
    if augment:
        images, masks = _augmented(images, masks, generator)
    return *images.chunk(2), masks


def _augmented(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flips, bias fields, gamma and gain: the same for corrupted and sharp images [2 M, P, P, P]."""
    flips = random_flips(generator)
    images, masks = images.flip(flips), masks.flip(flips)
    modalities, size = len(images) // 2, images.shape[-1]
    if torch.rand((), generator=generator) < 0.8:
        bias = random_bias(generator, modalities, size, images.device)
        images = (images * bias.repeat(2, 1, 1, 1)).clamp(max=1)
    gamma, gain = random_intensity(generator, modalities)
    return change_intensity(images, gamma.repeat(2), gain.repeat(2)), masks


def _center(twin: Twin, size: int, generator: torch.Generator, tumour_share: float) -> Tensor:
    """Patch centre in voxels, so that the patch stays inside the volume where it can, every such place as likely."""
    shape = torch.tensor(twin.case.label.shape, dtype=torch.float32)
    low = torch.minimum(torch.tensor(size / 2), shape / 2)
    center = low + torch.rand(3, generator=generator) * (shape - 2 * low)
    if torch.rand((), generator=generator) < tumour_share:
        voxels = twin.case.tumour[int(torch.randint(len(twin.case.tumour), (), generator=generator))]
        if len(voxels):
            jitter = (torch.rand(3, generator=generator) - 0.5) * size / 2
            center = voxels[int(torch.randint(len(voxels), (), generator=generator))] + jitter
    return torch.maximum(torch.minimum(center, shape - low), low)


def _reach(theta: Tensor, size: int) -> int:
    """Edge of the cube a patch of `size` reads under `theta`."""
    return int(theta.abs().sum(1).max() * size) + 2


def _cube(volume: Tensor, corner: Sequence[int], size: int) -> Tensor:
    """A cube of [C, D, H, W] from `corner` on, zero where it reaches outside."""
    out = volume.new_zeros(volume.shape[0], size, size, size)
    source = [slice(max(c, 0), max(min(c + size, n), 0)) for c, n in zip(corner, volume.shape[1:], strict=True)]
    target = [slice(s.start - c, s.stop - c) for s, c in zip(source, corner, strict=True)]
    out[(slice(None), *target)] = volume[(slice(None), *source)]
    return out


class Prefetched:
    """The parts of one step after another, made in a thread beside the running step; same patches as without.

    On a GPU the thread has a stream of its own, so motion and cropping run beside the network's kernels.

    Args:
        stream: What makes them.
        places: Places by part, of this process.
        first: Step to begin with.
        depth: Steps made ahead; 0: none, all in the caller's thread.
        device: Where the patches are.
    """

    def __init__(
        self, stream: PatchStream, places: Sequence[Sequence[int]], first: int, depth: int, device: torch.device
    ) -> None:
        self._stream, self._places, self._step, self._device = stream, places, first, device
        self.waited_s = 0.0
        self._ready: queue.Queue[tuple[object, object]] | None = None
        if depth:
            self._ready = queue.Queue(depth)
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._work, name="patches", daemon=True)
            self._thread.start()

    def next(self) -> list[Patch]:
        """The parts of the next step; `waited_s` grows by what they kept the caller waiting."""
        began = time.perf_counter()
        if self._ready is None:
            parts = self._stream.parts(self._step, self._places)
            self._step += 1
        else:
            parts, event = self._ready.get()
            if isinstance(parts, BaseException):
                raise parts
            if event is not None:
                self._take_over(parts, event)
        self.waited_s += time.perf_counter() - began
        return parts

    def close(self) -> None:
        """End the thread."""
        if self._ready is not None:
            self._stop.set()
            while self._thread.is_alive():
                try:
                    self._ready.get(timeout=0.05)
                except queue.Empty:
                    continue

    def _work(self) -> None:
        try:
            if self._device.type == "cuda":
                with torch.cuda.device(self._device), torch.cuda.stream(torch.cuda.Stream()):
                    self._fill()
            else:
                self._fill()
        except BaseException as error:  # raised again where the patches are wanted
            self._ready.put((error, None))

    def _fill(self) -> None:
        while not self._stop.is_set():
            parts = self._stream.parts(self._step, self._places)
            self._step += 1
            self._ready.put(
                (parts, torch.cuda.current_stream().record_event() if self._device.type == "cuda" else None)
            )

    @staticmethod
    def _take_over(parts: list[Patch], event: torch.cuda.Event) -> None:
        """Let the caller's stream wait for the patches, and keep their memory until it is done with them."""
        here = torch.cuda.current_stream()
        here.wait_event(event)
        for patch in parts:
            for tensor in (patch.corrupted, patch.sharp, patch.regions, patch.brain):
                tensor.record_stream(here)
