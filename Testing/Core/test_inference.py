from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from DABSegCore import devices, inference
from DABSegCore.devices import half_dtype, is_out_of_memory, resolve_device
from DABSegCore.errors import InputError
from DABSegCore.inference import WINDOWS, _blend, _corners, bytes_per_voxel, infer


class Output(NamedTuple):
    logits: Tensor
    restored: Tensor


class Pointwise(nn.Module):
    """Every voxel by itself: windows, flips and the whole volume must all agree."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv3d(4, 3, 1)
        self.stem = nn.Conv3d(4, 4, 1)

    def forward(self, image: Tensor) -> Output:
        return Output(self.head(image), self.stem(image))


class Limited(nn.Module):
    """A network on a machine with room for `limit` voxels at a time."""

    def __init__(self, limit: int, error: type[Exception] = torch.cuda.OutOfMemoryError, text: str = "full") -> None:
        super().__init__()
        self.inner, self.limit, self.error, self.text = Pointwise(), limit, error, text

    def forward(self, image: Tensor) -> Output:
        if image[:, 0].numel() > self.limit:
            raise self.error(self.text)
        return self.inner(image)


def an_image(*shape: int) -> Tensor:
    return torch.rand(4, *shape, generator=torch.Generator().manual_seed(7))


def by_hand(model: Pointwise, image: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        out = model(image[None])
    return out.logits[0].sigmoid(), out.restored[0]


@pytest.mark.parametrize("window", [None, 16, 64])
@pytest.mark.parametrize("tta", [False, True])
def test_windows_and_flips_of_a_pointwise_network_equal_the_whole(window: int | None, tta: bool) -> None:
    torch.manual_seed(1)
    model, image = Pointwise().eval(), an_image(23, 40, 17)
    result = infer(model, image, window=window, tta=tta, autocast="off")
    probabilities, restored = by_hand(model, image)
    torch.testing.assert_close(result.probabilities, probabilities, atol=5e-6, rtol=0)
    torch.testing.assert_close(result.restored, restored, atol=5e-6, rtol=0)
    assert result.precision == "float32"
    assert result.plan.window == (16 if window == 16 else None)


def test_flips_are_the_eight_mirror_images_undone() -> None:
    """A network that adds a ramp along D, H and W: the mirror images cancel it to its mean."""

    class Ramp(nn.Module):
        def forward(self, image: Tensor) -> Output:
            d, h, w = image.shape[2:]
            ramp = torch.arange(d)[:, None, None] + 10.0 * torch.arange(h)[:, None] + 100.0 * torch.arange(w)
            return Output(torch.zeros_like(image[:, :3]), image + ramp)

    image = an_image(3, 5, 7)
    result = infer(Ramp(), image, tta=True, autocast="off")
    torch.testing.assert_close(result.restored, image + (1 + 20 + 300))


def test_blending_weights_are_a_gaussian_with_an_eighth_of_the_window() -> None:
    blend = _blend((17, 17, 17))
    assert blend[8, 8, 8] == 1
    # 4 voxels from the centre along one axis: exp(-0.5 (4 / 2.125)^2)
    assert blend[12, 8, 8].item() == pytest.approx(0.17005, abs=1e-4)
    torch.testing.assert_close(blend, blend.flip(0, 1, 2))


def test_overlapping_windows_are_blended_by_those_weights() -> None:
    """Two windows along W that say 0 and 1: the seam is w2 / (w1 + w2)."""

    class Counter(nn.Module):
        calls = 0

        def forward(self, image: Tensor) -> Output:
            self.calls += 1
            return Output(torch.zeros_like(image[:, :3]), torch.full_like(image, self.calls - 1.0))

    result = infer(Counter(), an_image(16, 16, 24), window=16, autocast="off")
    profile = torch.exp(-0.5 * ((torch.arange(16) - 7.5) / 2) ** 2)
    expected = torch.cat([torch.zeros(8), profile[:8] / (profile[:8] + profile[8:]), torch.ones(8)])
    torch.testing.assert_close(result.restored[0, 3, 5], expected)


@pytest.mark.parametrize("length", [16, 17, 31, 32, 33, 100])
def test_windows_cover_every_voxel_with_half_overlap(length: int) -> None:
    starts = sorted({corner[0] for corner in _corners((length, 16, 16), (16, 16, 16), 0.5)})
    assert starts[0] == 0
    assert starts[-1] == length - 16
    assert all(b - a <= 8 for a, b in zip(starts, starts[1:], strict=False))


def test_less_overlap_takes_fewer_windows_and_still_covers_every_voxel() -> None:
    model, image, done = Pointwise().eval(), an_image(40, 16, 16), []
    for overlap in (0.75, 0.5, 0.25, 0.0):
        steps: list[int] = []
        result = infer(
            model,
            image,
            window=16,
            overlap=overlap,
            autocast="off",
            on_step=lambda _, total, to=steps: to.append(total),
        )
        torch.testing.assert_close(result.probabilities, by_hand(model, image)[0], atol=5e-6, rtol=0)
        done.append(steps[0])
    assert done == [7, 4, 3, 3]  # 24 voxels to go in strides of at most 4, 8, 12 and 16


def test_out_of_memory_steps_down_to_smaller_windows_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "WINDOWS", (32, 24, 16))
    monkeypatch.setattr(inference, "available_memory", lambda: None)
    said: list[str] = []
    model, image = Limited(24**3).eval(), an_image(20, 40, 36)
    result = infer(model, image, autocast="off", on_event=said.append)
    assert result.plan.window == 24
    assert [("of 32" in text, "of 24" in text) for text in said] == [(True, False), (True, True)]
    torch.testing.assert_close(result.probabilities, by_hand(model.inner, image)[0], atol=5e-6, rtol=0)


def test_a_gpu_steps_down_to_the_cpu_in_the_announced_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "available_memory", lambda: None)
    plans = inference._plans(Pointwise(), torch.empty(4, 155, 170, 140), torch.device("cuda:0"), None, 8, print)
    rungs = [(plan.device.type, plan.window, plan.batch, plan.accumulator.type) for plan in plans]
    assert rungs == [
        ("cuda", None, 8, "cuda"),
        ("cuda", None, 1, "cuda"),
        ("cuda", 128, 1, "cuda"),
        ("cuda", 96, 1, "cuda"),
        ("cuda", 64, 1, "cuda"),
        ("cuda", 64, 1, "cpu"),
        ("cpu", 128, 1, "cpu"),
        ("cpu", 96, 1, "cpu"),
        ("cpu", 64, 1, "cpu"),
    ]


def test_memory_that_never_suffices_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "available_memory", lambda: None)
    with pytest.raises(InputError, match="memory ran out even with .*64 voxels") as caught:
        infer(Limited(0), an_image(8, 8, 70), autocast="off")
    assert caught.value.code == "out-of-memory"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.cuda.OutOfMemoryError, "anything"),
        (MemoryError, ""),
        (RuntimeError, "MPS backend out of memory (MPS allocated: 1 GB)"),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
        (RuntimeError, "DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes"),
    ],
)
def test_every_way_of_running_out_of_memory_is_known(
    error: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "available_memory", lambda: None)
    assert is_out_of_memory(error(text))
    assert infer(Limited(64**3, error, text), an_image(8, 64, 600), autocast="off").plan.window == 128


def test_other_faults_are_not_taken_for_missing_memory() -> None:
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        infer(Limited(0, RuntimeError, "shapes differ"), an_image(8, 8, 8), autocast="off")


def test_whole_volume_is_skipped_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    image = an_image(8, 8, 200)
    said: list[str] = []
    need = bytes_per_voxel(Pointwise(), 4) * image[0].numel()
    assert need == 4 * (3 * 4 + 40) * image[0].numel()  # the largest layer makes four channels of four bytes
    monkeypatch.setattr(inference, "available_memory", lambda: int(need * 1.2))
    assert infer(Pointwise(), image, autocast="off", on_event=said.append).plan.window == WINDOWS[0]
    assert "may not fit" in said[0]
    monkeypatch.setattr(inference, "available_memory", lambda: int(need * 1.3))
    assert infer(Pointwise(), image, autocast="off").plan.window is None


def test_a_window_asked_for_is_never_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = inference._plans(Pointwise(), torch.empty(4, 200, 200, 200), torch.device("cpu"), 80, 1, print)
    assert [plan.window for plan in plans] == [80, 64]


def test_half_precision_that_overflows_is_repeated_in_float32() -> None:
    class Overflowing(nn.Module):
        def forward(self, image: Tensor) -> Output:
            bad = torch.is_autocast_enabled("cpu")
            return Output(torch.full_like(image[:, :3], float("nan") if bad else 0.0), image)

    said: list[str] = []
    result = infer(Overflowing(), an_image(4, 4, 4), autocast="bfloat16", on_event=said.append)
    assert result.precision == "float32"
    assert (result.probabilities == 0.5).all()
    assert said == ["bfloat16 overflowed; repeating in float32"]


class Broken(nn.Module):
    """Says what it is told, in every number format."""

    def __init__(self, logit: float, restored: float) -> None:
        super().__init__()
        self.logit, self.restored = logit, restored

    def forward(self, image: Tensor) -> Output:
        return Output(torch.full_like(image[:, :3], self.logit), torch.full_like(image, self.restored))


@pytest.mark.parametrize("autocast", ["off", "bfloat16"])
@pytest.mark.parametrize(
    ("logit", "restored"),
    [(float("nan"), 0.0), (float("-inf"), 0.0), (float("inf"), 0.0), (0.0, float("nan")), (0.0, float("inf"))],
)
def test_an_answer_that_is_not_finite_is_no_answer(logit: float, restored: float, autocast: str) -> None:
    said: list[str] = []
    with pytest.raises(InputError, match="holds NaN or Inf even in float32") as caught:
        infer(Broken(logit, restored), an_image(4, 4, 4), autocast=autocast, on_event=said.append)
    assert caught.value.code == "not-finite"
    assert len(said) == (autocast != "off")


def test_certainty_is_finite() -> None:
    result = infer(Broken(-1e4, 0.0), an_image(4, 4, 4), autocast="off")
    assert (result.probabilities == 0).all()


def test_the_same_input_gives_the_same_bytes() -> None:
    torch.manual_seed(3)
    model, image = Pointwise().eval(), an_image(20, 33, 27)
    first, second = (infer(model, image, window=16, tta=True) for _ in range(2))
    assert first.probabilities.numpy().tobytes() == second.probabilities.numpy().tobytes()
    assert first.restored.numpy().tobytes() == second.restored.numpy().tobytes()


def test_progress_counts_every_forward_pass() -> None:
    steps: list[tuple[int, int]] = []
    infer(Pointwise(), an_image(16, 16, 24), window=16, tta=True, on_step=lambda *step: steps.append(step))
    assert steps == [(i, 16) for i in range(17)]  # two windows, eight flips


def test_devices_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda:0")
    assert resolve_device("cuda") == torch.device("cuda:0")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="has cpu, cuda:0, cuda:1"):
        resolve_device("cuda:2")


def test_a_device_that_is_absent_is_refused_naming_what_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    for name in ("cuda", "cuda:0", "mps", "tpu"):
        with pytest.raises(InputError, match=f"'{name}' is not on this machine, which has cpu") as caught:
            resolve_device(name)
        assert caught.value.code == "no-device"


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with mps and without cuda; the probe is asked anew."""
    devices.mps_works.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    yield monkeypatch
    devices.mps_works.cache_clear()


def test_mps_is_taken_where_the_probe_succeeds(apple: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []
    apple.setattr(devices, "_agrees_with_cpu", lambda config, device: asked.append(device) or True)
    assert resolve_device("auto") == resolve_device("mps") == torch.device("mps")
    assert asked == [torch.device("mps")] * len(devices.PROBES)  # once a process


@pytest.mark.parametrize("error", [None, NotImplementedError("aten::conv_transpose3d"), TypeError("no float64 here")])
def test_mps_that_cannot_run_the_network_is_passed_over_or_refused(
    apple: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def fails(config: object, device: object) -> bool:
        if error is not None:
            raise error
        return False

    apple.setattr(devices, "_agrees_with_cpu", fails)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(InputError, match="does not run the network rightly on mps") as caught:
        resolve_device("mps")
    assert caught.value.code == "no-device"


def test_the_probe_knows_right_from_wrong_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_rng_state()
    cpu = torch.device("cpu")
    assert all(devices._agrees_with_cpu(config, cpu) for config in devices.PROBES)
    assert torch.equal(torch.get_rng_state(), before)
    plain, calls = nn.Conv3d.forward, []

    def drifts(self: nn.Conv3d, x: Tensor) -> Tensor:
        calls.append(self)
        return plain(self, x) + 1e-4 * len(calls)

    monkeypatch.setattr(nn.Conv3d, "forward", drifts)
    assert not devices._agrees_with_cpu(devices.PROBES[0], cpu)


def test_precision_follows_the_hardware_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert half_dtype(cpu, "off") is None
    assert half_dtype(cpu, "float16") is torch.float16
    for has_it, expected in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr("DABSegCore.devices._cpu_multiplies_bfloat16", lambda has_it=has_it: has_it)
        assert half_dtype(cpu) is expected
    assert half_dtype(torch.device("mps")) is half_dtype(torch.device("mps"), "float16") is None
    with pytest.raises(InputError, match="autocast 'fp8' is unknown"):
        half_dtype(cpu, "fp8")
