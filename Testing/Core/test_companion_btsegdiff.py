"""BTSegDiff: its size, its equations against hand-made truths, and that it learns to find a mask in noise."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from DABSegCore.models import build_model
from DABSegCore.models.companions.denoiser import Attention, TimeEmbedding
from DABSegCore.models.companions.diffusion import (
    StepwiseSum,
    mask_in,
    noised,
    sampling_times,
    signal_kept,
    step_back,
)
from DABSegCore.models.companions.fourier import Affinity, Highway, SpectralFilter
from DABSegCore.networks import NETWORKS, BTSegDiffConfig, as_plain, config_from
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.processes import Processes
from DABSegCore.training.run import Run
from DABSegCore.training.schedule import Schedule
from DABSegCore.training.stream import Patch

AXIAL = NETWORKS["btsegdiff-axial"]
VOLUME = BTSegDiffConfig("tiny-diff", 8, (1, 1, 2), 1, 8, grid=32, steps=2, samples=2)
SLICES = dataclasses.replace(VOLUME, form="axial", predicts="noise", fusion="highway", attention=(1,))
BOTH = pytest.mark.parametrize("config", [VOLUME, SLICES], ids=["volume", "axial"])


def weights_of(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def a_model(config: BTSegDiffConfig) -> nn.Module:
    """One in which nothing is nothing any more."""
    torch.manual_seed(0)
    model = build_model(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return model


def test_denoiser_and_guide_have_the_published_number_of_weights():
    """113.7 and 16.9 million. The denoiser is DDPM's for 256x256 photographs, which has 113,673,219 from and to three
    channels and here would have 5 and 2, the second one a variance; the guide's layer `embed` is not among its own."""
    with torch.device("meta"):
        model = build_model(dataclasses.replace(AXIAL, regions=1))
    one_in, one_out = 9 * 128, 9 * 128 + 1
    published = 113_673_219 + 2 * one_in - one_out
    assert round(published / 1e6, 1) == 113.7
    assert weights_of(model.denoiser) == published - one_out
    assert weights_of(model.guide) - weights_of(model.guide.embed) == 16_854_884


@BOTH
def test_any_size_any_batch_any_hour_the_same_answer(config):
    model = a_model(config)
    x = torch.rand(2, 4, 5, 33, 20)
    said = model(x)
    torch.manual_seed(123)
    again = model(x[1:])
    assert said.logits.shape == said.uncertainty.shape == (2, 3, 5, 33, 20)
    assert torch.equal(said.restored, x)
    assert 0 <= said.uncertainty.min() < said.uncertainty.max() <= 1 / math.e + 1e-6
    assert not said.logits.requires_grad
    assert said.logits.std() > 0.01
    torch.testing.assert_close(again.logits, said.logits[1:], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(again.uncertainty, said.uncertainty[1:], rtol=1e-3, atol=1e-4)


def test_axial_slices_do_not_see_each_other():
    model, x = a_model(SLICES), torch.rand(1, 4, 5, 32, 32)
    other = x.clone()
    other[:, :, 2] = torch.rand(1, 4, 32, 32)
    same = torch.isclose(model(x).logits, model(other).logits, atol=1e-4).flatten(3).all(-1).all(1)[0]
    assert same.tolist() == [True, True, False, True, True]


def test_a_spectral_filter_is_a_circular_convolution():
    torch.manual_seed(0)
    layer, x = SpectralFilter(1, (2, 4, 6)), torch.rand(1, 1, 2, 4, 6)
    kernel = torch.fft.irfftn(layer.at((2, 4, 6))[0], s=(2, 4, 6))
    wanted = torch.zeros_like(x)
    for shift in itertools.product(range(2), range(4), range(6)):
        wanted += kernel[shift] * x.roll(shift, dims=(2, 3, 4))
    torch.testing.assert_close(layer(x), wanted)


def test_weights_of_another_grid_are_those_of_the_same_frequencies():
    def ramp(grid: tuple[int, int, int]) -> Tensor:
        z, y, x = (torch.fft.fftfreq(edge).abs() for edge in grid)
        return 1 + z[:, None, None] + 2 * y[:, None] - 3 * x[: grid[2] // 2 + 1]

    layer = SpectralFilter(1, (1, 8, 8))
    layer.weight.data[:, 0] = torch.stack([ramp((1, 8, 8)), 2 * ramp((1, 8, 8))])
    for grid in ((1, 8, 8), (1, 12, 4), (1, 6, 20)):
        torch.testing.assert_close(layer.at(grid)[0], torch.complex(ramp(grid), 2 * ramp(grid)))


def test_both_ways_to_join_written_out():
    torch.manual_seed(0)
    image, seen = torch.rand(2, 4, 4, 4, 4), torch.rand(2, 6, 4, 4, 4)
    highway = Highway(6, 4, (4, 4, 4))
    h = highway.filter(highway.project(seen))
    one = sum(h[:, c] * highway.to_map.weight[0, c, 0, 0, 0] for c in range(4)) + highway.to_map.bias
    for b, c in itertools.product(range(2), range(4)):
        torch.testing.assert_close(highway(image, seen)[b, c], image[b, c] * one[b] * h[b, c].mean())

    affinity = Affinity(6, 4, (4, 4, 4))
    m = affinity.project(seen)
    a, b = ((v - v.mean((1, 2, 3, 4), keepdim=True)) / v.std((1, 2, 3, 4), keepdim=True) for v in (m, image))
    spectra = [torch.fft.rfftn(v, dim=(2, 3, 4)) * affinity.filter.at((4, 4, 4)) for v in (a, b)]
    map_ = torch.fft.irfftn(spectra[0] + spectra[1], dim=(2, 3, 4)).sigmoid()
    torch.testing.assert_close(affinity(image, seen), (a + b) * map_, rtol=0.02, atol=0.02)


def test_attention_written_out():
    torch.manual_seed(0)
    layer, x = Attention(4), torch.rand(1, 4, 2, 1, 3)
    layer.project.weight.data = torch.randn(layer.project.weight.shape)
    q, k, v = layer.qkv(layer.norm(x))[0].flatten(1).chunk(3)
    seen = torch.stack([v @ torch.softmax(k.T @ q[:, i] / 2, dim=0) for i in range(6)], dim=1)
    torch.testing.assert_close(layer(x), x + layer.project(seen.view(1, 4, 2, 1, 3)))


def test_every_step_has_an_embedding_of_its_own():
    said = TimeEmbedding(8)(torch.arange(1000))
    assert said.shape == (1000, 32)
    assert torch.pdist(said).min() > 0


def test_the_way_to_noise_and_back():
    kept = signal_kept()
    assert kept[0] == 1 - 1e-4
    assert kept[-1] == pytest.approx(4.04e-5, rel=0.01)  # DDPM: nothing is left
    assert sampling_times(10) == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert sampling_times(1) == [999]
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(2, 1, 2, 2, 2, generator=generator) * 2 - 1
    noise = torch.randn(mask.shape, generator=generator)
    late, early = (noised(mask, noise, torch.full((2,), kept[t])) for t in (700, 300))
    torch.testing.assert_close(mask_in(late, noise, kept[700]), mask, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(step_back(late, mask, kept[700], kept[300]), early)  # who knows the mask lands on it


def test_the_sum_over_steps_by_hand():
    blend = StepwiseSum(2)
    blend.add([torch.tensor([0.2, 0.0]), torch.tensor([0.4, 0.0])])
    blend.add([torch.tensor([0.9, 1.0]), torch.tensor([0.7, 1.0])])
    doubts = (-0.3 * math.log(0.3), -0.8 * math.log(0.8))
    factors = [math.exp(1 / (1 + math.exp(-t / 2))) for t in (1, 2)]
    weights = [factor * (1 - doubt) for factor, doubt in zip(factors, doubts, strict=True)]
    p = (weights[0] * 0.3 + weights[1] * 0.8) / sum(weights)
    torch.testing.assert_close(blend.logits().sigmoid(), torch.tensor([p, factors[1] / sum(factors)]))
    doubt = (weights[0] * doubts[0] + weights[1] * doubts[1]) / sum(weights)
    torch.testing.assert_close(blend.uncertainty(), torch.tensor([doubt, 0.0]))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"multipliers": [1, 1]}, "needs 3 levels or more"),
        ({"multipliers": [1, 1, 1, 1, 1, 1]}, "5 halvings at most"),
        ({"guide_width": 6}, "multiples of 4"),
        ({"grid": 36}, "grid must be a multiple of 8"),
        ({"samples": 0}, "samples must lie in"),
        ({"predicts": "truth"}, "predicts must be one of"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(changed, words):
    with pytest.raises(ValueError, match=words):
        config_from("btsegdiff", {**as_plain(VOLUME), **changed})


@BOTH
def test_an_overflow_does_not_pass_for_certainty(config):
    model = a_model(dataclasses.replace(config, steps=1, samples=1))
    for ending in (model.denoiser.ending[-1], model.guide.ending):
        ending.weight.data[0] = torch.inf
    assert not model(torch.rand(1, 4, 2, 8, 8)).logits.isfinite().all()


def test_it_does_not_learn_without_the_truth():
    with pytest.raises(ValueError, match="needs the truth while training"):
        build_model(VOLUME).train()(torch.rand(1, 4, 32, 32, 32))


def a_patch(depth: int) -> Patch:
    """A bright cube to find in noise."""
    generator = torch.Generator().manual_seed(0)
    regions = torch.zeros(1, 3, depth, 32, 32)
    regions[:, :, depth // 4 : 3 * depth // 4, 8:24, 8:24] = 1
    sharp = 0.3 + 0.5 * regions[:, :1].expand(-1, 4, -1, -1, -1)
    noisy = (sharp + 0.1 * torch.randn(sharp.shape, generator=generator)).clamp(0.01, 1)
    return Patch(noisy, sharp, regions, torch.ones(1, 1, depth, 32, 32), ("x",))


@pytest.mark.parametrize(("config", "depth", "rate"), [(VOLUME, 32, 3e-3), (SLICES, 2, 1e-2)], ids=["volume", "axial"])
def test_it_learns_to_find_a_mask_in_noise(monkeypatch, config, depth, rate):
    monkeypatch.setitem(NETWORKS, "tiny-diff", config)
    asked = TrainConfig(preset="tiny-diff", patch=32, steps=200, warm_up_steps=0, learning_rate=rate)
    run, patch = Run(asked, Processes(torch.device("cpu")), Schedule.of(asked, cases=1)), a_patch(depth)
    losses = [run.advance([patch], 0.0)["loss"].item() for _ in range(16)]
    assert losses[-1] < 0.8 * losses[0]
    found = run.average.eval()(patch.corrupted).logits > 0
    dice = 2 * (found * patch.regions).sum() / (found.sum() + patch.regions.sum())
    assert dice > 0.7
