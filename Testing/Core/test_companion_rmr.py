"""RMR-Fusion: its published size, its losses by hand, who moves whom, and that it learns to restore, outline, fuse."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_networks import weights_of
from tiny import TINY_RMR as TINY
from torch import nn

from DABSegCore.metrics.image import ssim
from DABSegCore.models import build_model
from DABSegCore.models.companions.rmr import Fusion, _degraded
from DABSegCore.models.companions.rmr_autoencoder import Decoder, Encoder, SwinBlock
from DABSegCore.models.companions.rmr_losses import similarity, sobel, total_variation, visual_fusion
from DABSegCore.models.prediction import Truth
from DABSegCore.networks import NETWORKS, as_plain, config_from
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.processes import Processes
from DABSegCore.training.run import Run
from DABSegCore.training.schedule import Schedule
from DABSegCore.training.stream import Patch

HEAD = 62_212_775
"""Weights of the published head, SwinUNETR of width 48 with 16 features and five classes."""


def a_patch() -> Patch:
    """Two bright cubes to find, and much noise to take away; two samples, as one is slow on a CPU's one thread."""
    generator = torch.Generator().manual_seed(1)
    regions = torch.zeros(2, 3, 32, 32, 32)
    regions[0, :, 8:20, 8:20, 8:20] = regions[1, :, 12:24, 8:20, 8:20] = 1
    sharp = 0.3 + 0.5 * regions[:, :1].expand(-1, 4, -1, -1, -1)
    noise = 0.25 * torch.randn(sharp.shape, generator=generator)
    return Patch((sharp + noise).clamp(0.01, 1), sharp, regions, torch.ones(2, 1, 32, 32, 32), ("x", "y"))


def test_the_form_of_two_modalities_has_the_published_number_of_weights():
    """63.09 million; the head is MONAI's and was counted once, as building it takes seconds."""
    config = NETWORKS["rmr-two"]
    encoder, decoder, fusion = Encoder(config), Decoder(config.features), Fusion(2, config.features)
    assert weights_of(encoder) == 2 * 359_084
    assert weights_of(decoder) == 8_713
    assert weights_of(fusion) == 145_344
    assert round((weights_of(encoder) + weights_of(decoder) + weights_of(fusion) + HEAD) / 1e6, 2) == 63.09
    assert config.head_config().architecture == "swinunetr"
    assert config.head_config().modalities == 16


@pytest.mark.parametrize("reads", [(0, 1, 2, 3), (3, 1)])
def test_any_size_is_fused_restored_and_outlined(reads):
    torch.manual_seed(0)
    model, x = build_model(dataclasses.replace(TINY, reads=reads)).eval(), torch.rand(1, 4, 31, 32, 20)
    x[:, :, :5] = 0
    with torch.no_grad():
        said = model(x)
    assert said.logits.shape == (1, 3, 31, 32, 20)
    assert said.restored.shape == x.shape
    assert said.fused.shape == (1, 1, 31, 32, 20)
    assert said.own_loss is None
    for m in range(4):
        assert torch.equal(said.restored[:, m], x[:, m]) == (m not in reads)
    assert not said.restored[:, :, :5].any()
    assert not said.fused[:, :, :5].any()
    with pytest.raises(ValueError, match=r"expected \[B, 4, D, H, W\]"):
        model(x[:, :3])


def test_modalities_do_not_meet_before_the_fusion():
    torch.manual_seed(0)
    encoder, x = Encoder(TINY), torch.rand(1, 2, 16, 16, 16)
    other = x.clone()
    other[:, 1] = torch.rand(16, 16, 16)
    with torch.no_grad():
        same = (encoder(x) == encoder(other)).unflatten(1, (2, -1)).flatten(2).all(-1)[0]
    assert same.tolist() == [True, False]


def test_an_attention_block_written_out():
    """One window, one head, nothing shifted: in each modality attention over all tokens, then the feed-forward."""
    torch.manual_seed(0)
    block, x = SwinBlock(TINY, shifted=False).double(), torch.rand(1, 8, 4, 4, 4).double()
    for parameter in block.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape).double()
    tokens = x.flatten(2).unflatten(1, (2, 4))[0].transpose(1, 2)  # [M, N, C]
    places = torch.stack(torch.meshgrid(*[torch.arange(4)] * 3, indexing="ij")).flatten(1).T
    offsets = places[:, None] - places[None] + 3
    rows = (offsets[..., 0] * 7 + offsets[..., 1]) * 7 + offsets[..., 2]
    for m in range(2):
        t = tokens[m]
        of = slice(m * 4, m * 4 + 4)
        normed = nn.functional.layer_norm(t, (4,), block.norm1.weight[m], block.norm1.bias[m])
        qkv = normed @ block.attention.qkv.weight[m * 12 : m * 12 + 12].flatten(1).T
        q, k, v = (qkv + block.attention.qkv.bias[m * 12 : m * 12 + 12]).chunk(3, dim=1)
        score = q @ k.T / 2 + block.attention.bias.table[rows, m]
        t = t + score.softmax(-1) @ v @ block.attention.proj.weight[of].flatten(1).T + block.attention.proj.bias[of]
        normed = nn.functional.layer_norm(t, (4,), block.norm2.weight[m], block.norm2.bias[m])
        widen, _, narrow = block.mlp
        wide = normed @ widen.weight[m * 16 : m * 16 + 16].flatten(1).T + widen.bias[m * 16 : m * 16 + 16]
        t = t + nn.functional.gelu(wide) @ narrow.weight[of].flatten(1).T + narrow.bias[of]
        torch.testing.assert_close(block(x)[0, of].flatten(1).T, t)


def test_the_losses_by_hand():
    ramp = torch.arange(12.0).view(1, 1, 1, 1, 12).expand(1, 1, 13, 14, 12)
    assert total_variation(ramp) == 1
    assert total_variation(ramp + 2 * ramp.new_tensor(range(13)).view(1, 1, 13, 1, 1)) == 1 + 4
    assert sobel(ramp)[0, 0, 5, 5, 5] == 2 * 16
    assert sobel(ramp)[0, 0, 0, 0, 5] == 2 * 16  # the border draws no edge
    flat = torch.full_like(ramp, 0.5)
    assert visual_fusion(flat, torch.cat([flat, flat], 1), flat) == 0
    edges = visual_fusion(flat, torch.cat([flat, ramp], 1), flat)
    assert edges == pytest.approx(0.1 * sobel(ramp).mean().item())
    assert visual_fusion(flat + 0.5, torch.cat([flat, flat], 1), flat) == pytest.approx(1.2 * 0.5)


def test_similarity_is_that_of_the_metric_where_windows_lie_inside():
    a, b = (torch.rand(1, 1, 14, 13, 15, generator=torch.Generator().manual_seed(k)) for k in range(2))
    inside = np.zeros((14, 13, 15), bool)
    inside[5:-5, 5:-5, 5:-5] = True
    assert similarity(a, b).item() == pytest.approx(ssim(a[0, 0].numpy(), b[0, 0].numpy(), inside), abs=1e-5)
    assert similarity(a, a) == pytest.approx(1)


def test_outlines_and_fusion_do_not_move_the_autoencoder_nor_its_own_loss_the_head():
    torch.manual_seed(0)
    model, patch = build_model(TINY), a_patch()
    said = model(patch.corrupted, Truth(patch.regions, patch.sharp, patch.brain))

    def moved(loss: torch.Tensor) -> set[str]:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, [p for _, p in named], retain_graph=True, allow_unused=True)
        return {name.split(".")[0] for (name, _), g in zip(named, gradients, strict=True) if g is not None}

    assert moved(said.logits.sum()) == {"fusion", "head"}
    assert moved(said.fused.sum()) == {"fusion"}
    assert not said.restored.requires_grad
    assert moved(said.own_loss) == {"encoder", "decoder", "fusion"}


def test_what_degrades_a_patch_depends_on_the_steps_seed_alone():
    sharp = torch.rand(1, 2, 16, 16, 16)
    shown = []
    for seed in (1, 1, 2, 3):
        torch.manual_seed(seed)
        shown.append(_degraded(sharp))
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])
    assert not torch.equal(shown[2], shown[3])
    assert not any(torch.equal(sharp, each) for each in shown)


def test_sparing_memory_changes_no_gradient(monkeypatch):
    torch.manual_seed(0)
    model, x = build_model(TINY), torch.rand(2, 2, 16, 16, 16)
    gradients = []
    for spare in (False, True):
        monkeypatch.setattr("DABSegCore.models.companions.rmr._spares_memory", lambda _, spare=spare: spare)
        gradients.append(torch.autograd.grad(model._encode(x).square().mean(), list(model.encoder.parameters())))
    for plain, spared in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, spared)


def learned(steps: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, list[dict[str, torch.Tensor]]]:
    """A training of the tiny one, and what it logged."""
    monkeypatch.setitem(NETWORKS, "tiny-rmr", TINY)
    config = TrainConfig(preset="tiny-rmr", patch=32, steps=steps, warm_up_steps=0, learning_rate=1.5e-2)
    run = Run(config, Processes(torch.device("cpu")), Schedule.of(config, cases=1))
    return run, [run.advance([a_patch()], step / steps) for step in range(steps)]


def test_a_few_steps_are_in_the_right_direction(monkeypatch):
    _, logs = learned(5, monkeypatch)
    first, last = logs[0], logs[-1]
    assert last["loss"] < 0.9 * first["loss"]
    assert last["gain_db"] > first["gain_db"] + 1
    assert last["dice"].mean() > first["dice"].mean() + 0.05


@pytest.mark.slow
def test_it_learns_to_restore_to_outline_and_to_fuse(monkeypatch):
    run, logs = learned(50, monkeypatch)
    assert logs[-1]["gain_db"] > 1.5
    patch = a_patch()
    with torch.no_grad():
        said = run.model.eval()(patch.corrupted)
    assert ((said.logits > 0) == (patch.regions > 0)).float().mean() > 0.98
    assert (said.fused - patch.sharp[:, 3:]).abs().mean() < 0.08


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"reads": [3]}, "two or more of 4 modalities"),
        ({"reads": [0, 1]}, "salient among them"),
        ({"reads": [3, 3]}, "each once"),
        ({"reads": [3, 5]}, "two or more of 4 modalities"),
        ({"heads": 3}, "multiple of its 3 heads"),
        ({"patch": 3}, "patch of 1, 2, 4 or 8"),
        ({"features": 32}, "features must lie in"),
        ({"head": "swinunetr"}, "multiple of 12"),
        ({"depths": []}, "and a depth"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        config_from("rmr", {**as_plain(TINY), **values})
