"""MedDeblur: the published number of weights, its blocks written out, and a blur that it learns to undo."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.degrade import correlate, streak_kernel
from DABSegCore.models import build_model
from DABSegCore.models.companions.asymmetric import ResidualDense, SpatialAsymmetricAttention
from DABSegCore.models.companions.meddeblur import MedDeblur
from DABSegCore.models.companions.recurrence import ConvGRU, ConvLSTM
from DABSegCore.models.prediction import Truth
from DABSegCore.networks import NETWORKS, MedDeblurConfig
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.processes import Processes
from DABSegCore.training.run import Run
from DABSegCore.training.schedule import Schedule
from DABSegCore.training.stream import Patch

TINY = MedDeblurConfig("tiny-meddeblur", 4)
AXIAL = dataclasses.replace(TINY, form="axial", residual=False, every_scale=False)
FOLDED = dataclasses.replace(TINY, fold=True)


def weights_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def stirred(model: nn.Module, scale: float = 0.1) -> nn.Module:
    """With weights drawn anew, so that nothing is as it starts."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data = scale * torch.randn(parameter.shape, dtype=parameter.dtype)
    return model


def slow(x: Tensor, convolution: nn.Module) -> Tensor:
    """What a convolution or a row of them says, tap by tap: zeros beyond the border, output as large as the input."""
    if isinstance(convolution, nn.Sequential):
        for part in convolution:
            x = slow(x, part)
        return x
    weight, size = convolution.weight, x.shape[2:]
    out = torch.zeros(x.shape[0], weight.shape[0], *size, dtype=x.dtype)
    margins = [n // 2 for n in reversed(weight.shape[2:]) for _ in (0, 1)]
    wide = F.pad(x, margins)
    for k, j, i in torch.ones(weight.shape[2:]).nonzero().tolist():
        part = wide[:, :, k : k + size[0], j : j + size[1], i : i + size[2]]
        out += torch.einsum("oc,bcdhw->bodhw", weight[:, :, k, j, i], part)
    return out if convolution.bias is None else out + convolution.bias.view(1, -1, 1, 1, 1)


@pytest.mark.parametrize(
    ("modalities", "weights"),
    [
        (3, 8_028_917),  # three colours: the released code
        (4, 8_028_917 + 2 * 25 * 32 + 25 * 32 + 1),  # an input and an answer more, and a bias
        (1, 8_028_917 - 2 * (2 * 25 * 32 + 25 * 32 + 1)),
    ],
)
def test_the_axial_form_has_the_published_number_of_weights(modalities, weights):
    with torch.device("meta"):
        ours = build_model(dataclasses.replace(NETWORKS["meddeblur-axial"], modalities=modalities))
    assert weights_of(ours) == weights


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("meddeblur")])
def test_every_name_answers_at_the_size_it_is_asked(name):
    with torch.device("meta"), torch.no_grad():
        said = build_model(NETWORKS[name]).eval()(torch.zeros(2, 4, 40, 64, 33))
    assert said.restored.shape == (2, 4, 40, 64, 33)
    assert said.logits.shape == (2, 3, 40, 64, 33)


@pytest.mark.parametrize("config", [TINY, AXIAL, FOLDED], ids=["volume", "axial", "folded"])
def test_any_size_and_nothing_changes_outside_the_brain(config):
    model, x = stirred(MedDeblur(config)).eval(), torch.rand(1, 4, 20, 32, 30)
    x[..., :5] = 0
    with torch.no_grad():
        said = model(x)
    changed = (said.restored != x).all(1)
    assert not changed[..., :5].any()
    assert changed[..., 5:].all()
    assert (said.logits < -10).all()
    assert said.own_loss is None
    with pytest.raises(ValueError, match=r"expected \[B, 4, D, H, W\], got \[1, 3, 32, 32, 32\]"):
        model(torch.rand(1, 3, 32, 32, 32))


def test_axial_slices_do_not_see_each_other():
    model, x = stirred(MedDeblur(AXIAL)).eval(), torch.rand(1, 4, 3, 32, 32)
    other = x.clone()
    other[:, :, 1] = torch.rand(1, 4, 32, 32)
    with torch.no_grad():
        same = (model(x).restored == model(other).restored).flatten(3).all(-1).all(1)[0]
    assert same.tolist() == [True, False, True]


def test_slices_are_not_folded_into_each_other():
    with pytest.raises(ValueError, match="folds volumes, not axial slices"):
        dataclasses.replace(TINY, fold=True, form="axial")


@pytest.mark.parametrize("axial", [True, False])
def test_the_attention_written_out(axial):
    block = stirred(SpatialAsymmetricAttention(4, axial).double(), 0.5)
    x = torch.rand(2, 4, 4, 5, 6).double()
    gate = torch.zeros(2, 1, 4, 5, 6).double()
    for along in block.along:
        seen = slow(x, along)
        gate += slow(torch.stack([seen.mean(1), seen.max(1).values], dim=1), block.look).sigmoid()
    features = slow(x, block.square)
    wanted = torch.empty_like(features)
    for b in range(2):
        for k in range(4):
            mean = features[b, :, k].mean((1, 2)) if axial else features[b].mean((1, 2, 3))
            hidden = (block.squeeze.weight[:, :, 0, 0, 0] @ mean).clamp(min=0)
            weight = (block.excite.weight[:, :, 0, 0, 0] @ hidden).sigmoid()
            wanted[b, :, k] = weight[:, None, None] * features[b, :, k] * gate[b, :, k]
    wanted = torch.where(wanted > 0, wanted, 0.2 * wanted)
    torch.testing.assert_close(block(x), wanted)
    assert [tuple(along.kernel_size) for along in block.along] == (
        [(1, 3, 1), (1, 1, 3)] if axial else [(3, 1, 1), (1, 3, 1), (1, 1, 3)]
    )


def test_a_dense_block_written_out():
    block, x = stirred(ResidualDense(4, axial=False).double()), torch.rand(1, 4, 3, 4, 5).double()
    first = slow(x, block.grow[0]).clamp(min=0)
    second = slow(torch.cat([x, first], 1), block.grow[1]).clamp(min=0)
    third = slow(torch.cat([x, first, second], 1), block.grow[2]).clamp(min=0)
    torch.testing.assert_close(block(x), x + slow(torch.cat([x, first, second, third], 1), block.fuse))


def test_the_cells_written_out():
    x, before, memory = (torch.rand(1, 2, 1, 1, 1).double() for _ in range(3))
    lstm = stirred(ConvLSTM(2, 1, axial=False).double(), 1.0)
    gates = lstm.gates.weight[:, :, 0, 0, 0] @ torch.cat([x, before], 1).flatten() + lstm.gates.bias
    take, forget, show = gates[:6].sigmoid().view(3, 2)
    kept = forget * memory.flatten() + take * gates[6:].tanh()
    answer, after = lstm(x, (before, memory))
    torch.testing.assert_close(after.flatten(), kept)
    torch.testing.assert_close(answer.flatten(), show * kept.tanh())

    gru = stirred(ConvGRU(2, 1, axial=False).double(), 1.0)
    gates = gru.gates.weight[:, :, 0, 0, 0] @ torch.cat([x, before], 1).flatten() + gru.gates.bias
    update, reset = gates.sigmoid().view(2, 2)
    seen = torch.cat([x.flatten(), reset * before.flatten()])
    new = (gru.candidate.weight[:, :, 0, 0, 0] @ seen + gru.candidate.bias).tanh()
    torch.testing.assert_close(gru(x, (before,))[0].flatten(), (1 - update) * before.flatten() + update * new)
    for cell in (lstm, gru):
        nothing = tuple(torch.zeros_like(part) for part in cell(x, None))
        torch.testing.assert_close(cell(x, None), cell(x, nothing))


def test_each_scale_hears_from_the_one_before_by_its_answer_and_by_the_state():
    model, heard = stirred(MedDeblur(TINY)).eval(), []
    model.scale.register_forward_hook(lambda _, args, out: heard.append((*args, *out)))
    x = torch.rand(1, 4, 32, 32, 32)
    with torch.no_grad():
        model(x)
    assert [tuple(seen.shape) for seen, *_ in heard] == [(1, 8, n, n, n) for n in (8, 16, 32)]
    assert heard[0][1] is None
    assert heard[0][0][:, 4:].abs().max() == 0
    for (seen, _, said, state), (later, given, _, _) in zip(heard, heard[1:], strict=False):
        answer = seen[:, :4] + said
        torch.testing.assert_close(F.avg_pool3d(later[:, :4], 2), seen[:, :4])
        inner = (slice(None), slice(None), *[slice(1, -1)] * 3)
        twice = F.interpolate(answer, scale_factor=2, mode="trilinear")
        torch.testing.assert_close(later[:, 4:][inner], twice[inner])
        torch.testing.assert_close(given[0], F.interpolate(state[0], scale_factor=2, mode="trilinear"))


def test_the_loss_of_every_scale_of_a_network_that_changes_nothing():
    sharp, brain = torch.rand(1, 4, 32, 32, 32), torch.ones(1, 1, 32, 32, 32)
    brain[..., :16] = 0
    model = MedDeblur(FOLDED).train()
    said = model(sharp + 0.25, Truth(torch.zeros(1, 3, 32, 32, 32), sharp, brain))
    assert said.own_loss.item() == pytest.approx(3 * 0.25, rel=1e-5)
    assert torch.equal(said.restored, sharp + 0.25)
    assert MedDeblur(AXIAL).wants_truth is False


def a_patch() -> Patch:
    """Bars and a cube, smeared along a line in space."""
    regions = torch.zeros(1, 3, 32, 32, 32)
    regions[:, :, 8:20, 8:20, 8:20] = 1
    bars = 0.2 * (torch.arange(32) // 3 % 2).view(1, 1, 1, 1, -1)
    sharp = (0.3 + 0.4 * regions[:, :1] + bars).expand(-1, 4, -1, -1, -1).contiguous()
    kernel = streak_kernel(8.0, torch.tensor([0.8, 0.6, 0.0]), (1, 1, 1))
    return Patch(correlate(sharp, kernel), sharp, regions, torch.ones(1, 1, 32, 32, 32), ("x",))


def test_it_learns_to_undo_a_blur(monkeypatch):
    monkeypatch.setitem(NETWORKS, FOLDED.preset, FOLDED)
    asked = TrainConfig(preset=FOLDED.preset, patch=32, steps=50, warm_up_steps=0, learning_rate=1e-3)
    run, patch = Run(asked, Processes(torch.device("cpu")), Schedule.of(asked, cases=1)), a_patch()
    logs = [run.advance([patch], 0.0) for _ in range(12)]
    assert logs[0]["gain_db"].item() == pytest.approx(0, abs=1e-4)  # it begins by changing nothing
    assert logs[-1]["gain_db"].item() > 1
    assert logs[-1]["loss"] < logs[0]["loss"] - 0.5
