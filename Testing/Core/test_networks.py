"""Networks: every one that has a name is built, answers alike, and survives its checkpoint."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tiny import TINY
from torch import nn

from DABSegCore.cases import find_case, load_case
from DABSegCore.checkpoint import load_checkpoint, save_checkpoint
from DABSegCore.config import PRESETS
from DABSegCore.devices import resolve_device
from DABSegCore.errors import InputError
from DABSegCore.inference import infer
from DABSegCore.labels import REGIONS
from DABSegCore.models import Prediction, build_model
from DABSegCore.models.companions.nafnet import NAFBlock, NAFNet
from DABSegCore.networks import (
    NETWORKS,
    NAFNetConfig,
    PeerConfig,
    TwoStageConfig,
    as_plain,
    config_from,
    family_of,
)
from DABSegCore.pipeline import Engine, Options, load_engine, segment_case
from DABSegCore.progress import Progress
from DABSegCore.training.config import TrainConfig
from DABSegCore.training.processes import Processes
from DABSegCore.training.run import Run, read_state
from DABSegCore.training.schedule import Schedule
from DABSegCore.training.stream import Patch, cut_patch
from DABSegCore.volume import read_volume

CPU, QUIET = torch.device("cpu"), Progress("quiet")
WEIGHTS = {"path": "none", "sha256": "0" * 64, "preset": "sampling", "version": "0"}

NAF = NAFNetConfig("tiny-naf", 4, (1,), 1, (1,))
SEGRES = PeerConfig("tiny-segres", "segresnet", 8)
SMALLEST = [
    dataclasses.replace(TINY, stem="none", stem_blocks=()),
    PeerConfig("tiny-dyn", "dynunet", 4),
    SEGRES,
    PeerConfig("tiny-swin", "swinunetr", 12),
    NAF,
    dataclasses.replace(NAF, fold=True),
    dataclasses.replace(NAF, form="axial"),
    TwoStageConfig(NAF, SEGRES),
]


def named(config: object) -> str:
    return f"{getattr(config, 'architecture', family_of(config))} {getattr(config, 'form', '')}"


def weights_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("config", SMALLEST, ids=named)
def test_any_size_any_batch_and_what_it_says_of_itself_is_so(config):
    torch.manual_seed(0)
    model, x = build_model(config).eval(), torch.rand(1, 4, 33, 32, 20)
    for parameter in model.parameters():  # nothing starts as nothing any more
        parameter.data += 0.05 * torch.randn(parameter.shape)
    with torch.no_grad():
        said = model(x)
    assert said.logits.shape == (1, 3, 33, 32, 20)
    assert said.restored.shape == x.shape
    assert torch.equal(said.restored, x) != model.restores
    assert bool((said.logits.sigmoid() > 1e-6).any()) == model.outlines
    with pytest.raises(ValueError, match=r"expected \[B, 4, D, H, W\], got \[1, 3, 32, 32, 32\]"):
        model(torch.rand(1, 3, 32, 32, 32))


@pytest.mark.parametrize("config", SMALLEST, ids=named)
def test_the_smallest_volume_there_is_goes_through(config):
    with torch.no_grad():
        assert build_model(config).eval()(torch.rand(1, 4, 32, 32, 32)).logits.shape == (1, 3, 32, 32, 32)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_fills_all_of_a_network(name: str) -> None:
    """What it does not keep is made with the network, though this is made without memory for weights."""
    with torch.device("meta"):
        model = build_model(NETWORKS[name])
    kept = model.state_dict()
    assert [buffer for buffer, tensor in model.named_buffers() if buffer not in kept and tensor.is_meta] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_a_name_stands_for_a_configuration_that_json_brings_back(name):
    config = NETWORKS[name]
    assert config.preset == name
    assert config_from(family_of(config), json.loads(json.dumps(as_plain(config)))) == config


def test_the_trunk_without_its_stem_is_the_network_without_the_stems_weights():
    for preset, config in PRESETS.items():
        with torch.device("meta"):
            whole, trunk = build_model(config), build_model(NETWORKS[f"dami-{preset}"])
        assert weights_of(whole) - weights_of(whole.stem) == weights_of(trunk)


def test_the_axial_restorer_has_the_published_number_of_weights():
    """NAFNet of width 32 for three colours has 17.11 million; a fourth modality adds 9 x 32 twice, and one bias."""
    with torch.device("meta"):
        ours = build_model(NETWORKS["nafnet-axial"])
    assert weights_of(ours) == 17_111_907 + 2 * 9 * 32 + 1


def test_axial_slices_do_not_see_each_other():
    torch.manual_seed(0)
    model, x = NAFNet(dataclasses.replace(NAF, form="axial")).eval(), torch.rand(1, 4, 32, 32, 32)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    other = x.clone()
    other[:, :, 5] = torch.rand(1, 4, 32, 32)
    with torch.no_grad():
        same = (model(x).restored == model(other).restored).flatten(3).all(-1).all(1)[0]
    assert same.tolist() == [k != 5 for k in range(32)]


def test_a_block_of_nafnet_written_out():
    torch.manual_seed(0)
    block, x = NAFBlock(4, axial=False).double(), torch.rand(1, 4, 5, 6, 7).double()
    for parameter in block.parameters():
        parameter.data = torch.randn(parameter.shape).double()

    def normed(v, norm):
        mean, variance = v.mean(1, keepdim=True), v.var(1, keepdim=True, unbiased=False)
        return (v - mean) / (variance + 1e-6).sqrt() * norm.weight.view(1, -1, 1, 1, 1) + norm.bias.view(1, -1, 1, 1, 1)

    wide = block.mix(block.expand(normed(x, block.norm1)))
    gated = wide[:, :4] * wide[:, 4:]
    y = x + block.beta * block.project(gated * block.attend(gated.mean((2, 3, 4), keepdim=True)))
    wide = block.widen(normed(y, block.norm2))
    wanted = y + block.gamma * block.narrow(wide[:, :4] * wide[:, 4:])
    torch.testing.assert_close(block(x), wanted)


@pytest.mark.parametrize("config", SMALLEST, ids=named)
def test_a_checkpoint_brings_back_a_network_of_any_family(tmp_path: Path, config):
    torch.manual_seed(3)
    model = build_model(config).eval()
    save_checkpoint(tmp_path / "w.pt", model, config, {"window": 32})
    again, meta = load_checkpoint(tmp_path / "w.pt")
    assert again.config == config
    assert meta["preset"] == ("custom+custom" if isinstance(config, TwoStageConfig) else "custom")
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("family", "values", "words"),
    [
        ("gan", {}, "unknown kind of network 'gan'"),
        ("nafnet", {**as_plain(NAF), "width": 5000}, "width must lie in"),
        ("nafnet", {**as_plain(NAF), "decoder_blocks": [1, 1]}, "as many up as down"),
        ("peer", {**as_plain(SEGRES), "architecture": "unet"}, "architecture must be one of"),
        ("peer", {**as_plain(SEGRES), "architecture": "swinunetr"}, "multiple of 12"),
        ("two-stage", {"restorer": {}}, "has a restorer and a segmenter"),
        ("two-stage", {"restorer": {"family": "two-stage"}, "segmenter": {}}, "part of another"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(family, values, words):
    with pytest.raises(ValueError, match=words):
        config_from(family, values)


def test_weights_that_outline_nothing_do_not_segment(tmp_path: Path):
    save_checkpoint(tmp_path / "naf.pt", build_model(NAF), NAF, {})
    with pytest.raises(InputError, match="restore images and outline nothing; train a segmenter behind") as fault:
        load_engine(tmp_path / "naf.pt", resolve_device("cpu"), Progress("quiet"))
    assert fault.value.code == "outlines-nothing"


@pytest.fixture
def _tiny(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny-segres", SEGRES)
    monkeypatch.setitem(NETWORKS, "tiny-naf", NAF)


def a_run(**asked: object) -> Run:
    config = TrainConfig(**{"patch": 32, "steps": 50, "warm_up_steps": 0, "learning_rate": 1e-2, **asked})
    return Run(config, Processes(torch.device("cpu")), Schedule.of(config, cases=1))


def a_patch() -> Patch:
    """A bright cube to find, and noise to take away."""
    generator = torch.Generator().manual_seed(0)
    regions = torch.zeros(1, 3, 32, 32, 32)
    regions[:, :, 8:20, 8:20, 8:20] = 1
    sharp = 0.3 + 0.5 * regions[:, :1].expand(-1, 4, -1, -1, -1)
    noise = 0.1 * torch.randn(sharp.shape, generator=generator)
    return Patch((sharp + noise).clamp(0.01, 1), sharp, regions, torch.ones(1, 1, 32, 32, 32), ("x",))


@pytest.mark.usefixtures("_tiny")
def test_a_restorer_learns_to_restore_and_then_stays_as_it_is_in_front_of_a_segmenter(tmp_path: Path):
    naf = a_run(preset="tiny-naf")
    gains = [naf.advance([a_patch()], 0.0)["gain_db"].item() for _ in range(12)]
    assert gains[0] == 0
    assert gains[-1] > 0.5
    save_checkpoint(tmp_path / "naf.pt", naf.model, NAF, {})

    run = a_run(preset="tiny-segres", restorer=tmp_path / "naf.pt")
    assert run.network == TwoStageConfig(NAF, SEGRES)
    logs = [run.advance([a_patch()], 0.0) for _ in range(8)]
    assert logs[-1]["dice"].mean() > logs[0]["dice"].mean() + 0.05
    assert all(log["gain_db"].item() == pytest.approx(logs[0]["gain_db"].item(), abs=1e-4) for log in logs)
    for name, tensor in naf.model.state_dict().items():
        assert torch.equal(run.model.restorer.state_dict()[name], tensor), name

    run.save(tmp_path)
    (tmp_path / "naf.pt").unlink()
    again = Run(run.config, run.processes, run.schedule, state := read_state(tmp_path))
    again.restore(state, tmp_path)
    after = [r.advance([a_patch()], 0.0)["loss"].item() for r in (run, again)]
    assert after[0] == after[1]


@pytest.mark.parametrize("config", SMALLEST, ids=named)
def test_every_weight_is_averaged_once(config, monkeypatch):
    """DynUNet names its layers twice."""
    monkeypatch.setitem(NETWORKS, "one", config)
    run = a_run(preset="one", ema=0.5)
    run.step = 1000
    for parameters, value in ((run.average.parameters(), 0.0), (run.model.parameters(), 1.0)):
        for parameter in parameters:
            parameter.data.fill_(value)
    run._update_average()
    assert all((parameter == 0.5).all() for parameter in run.average.parameters())


@pytest.mark.usefixtures("_tiny")
def test_what_is_no_restorer_is_refused_in_front_and_a_restorer_behind(tmp_path: Path):
    save_checkpoint(tmp_path / "peer.pt", build_model(SEGRES), SEGRES, {})
    save_checkpoint(tmp_path / "naf.pt", build_model(NAF), NAF, {})
    with pytest.raises(InputError, match="which is no restorer of one stage; give the checkpoint of one"):
        a_run(preset="tiny-segres", restorer=tmp_path / "peer.pt")
    with pytest.raises(InputError, match="outlines nothing, so it cannot follow a restorer"):
        a_run(preset="tiny-naf", restorer=tmp_path / "naf.pt")
    with pytest.raises(InputError, match="--preset unet is no network; use one of paper, base, small"):
        TrainConfig(preset="unet")


def test_crops_drawn_apart_differ_from_aligned_ones_in_the_sharp_images_alone(a_small_patient):
    from DABSegCore.training.dataset import make_twin, virtual_case

    twin = make_twin(virtual_case(3), 0, 0, 0)
    for seed in range(4):
        aligned, apart = (
            cut_patch(twin, 32, torch.Generator().manual_seed(seed), aligned=aligned) for aligned in (True, False)
        )
        for k in (0, 2, 3):
            assert torch.equal(aligned[k], apart[k])
        assert torch.equal(aligned[0], aligned[1])  # without motion corrupted is sharp
        assert not torch.equal(apart[0], apart[1])


def test_a_network_that_restores_nothing_writes_no_pseudo_clear_volumes(tmp_path: Path, a_case_folder):
    plain = dataclasses.replace(TINY, stem="none", stem_blocks=())
    save_checkpoint(tmp_path / "w.pt", build_model(plain), plain, {})
    engine = load_engine(tmp_path / "w.pt", resolve_device("cpu"), Progress("quiet"))
    wanted = Options(stability=True, save_extras=True)
    report, _ = segment_case(find_case(a_case_folder), engine, tmp_path / "asked", wanted)
    assert any("neither uncertainty nor a fused volume" in sentence for sentence in report["warnings"])
    report, _ = segment_case(find_case(a_case_folder), engine, tmp_path / "any", Options(save_extras="if-any"))
    assert not any("fused" in sentence for sentence in report["warnings"])
    report, _ = segment_case(find_case(a_case_folder), engine, tmp_path / "out", Options())
    assert not [name for name in report["outputs"] if "pseudo-clear" in name]
    assert any("restores nothing" in sentence for sentence in report["warnings"])
    assert segment_case(find_case(a_case_folder), engine, tmp_path / "out", Options())[1] == "skipped"


class Sampling(nn.Module):
    """Is unsure where it is dark, and fuses two modalities."""

    restores, outlines = False, True

    def forward(self, x: torch.Tensor) -> Prediction:
        return Prediction(x[:, :3] - 0.5, x, (), uncertainty=1 - x[:, :3], fused=(x[:, :1] + x[:, 3:]) / 2)


def test_what_only_some_networks_give_is_blended_mirrored_and_written(tmp_path: Path, a_case_folder):
    image = torch.rand(4, 40, 36, 33, generator=torch.Generator().manual_seed(1))
    for how in ({"window": 32}, {"tta": True}):
        said = infer(Sampling().eval(), image, **how)
        torch.testing.assert_close(said.extras["uncertainty"], 1 - image[:3])
        torch.testing.assert_close(said.extras["fused"], (image[:1] + image[3:]) / 2)
    engine = Engine(Sampling(), {"thresholds": dict.fromkeys(REGIONS, 0.5), "window": None}, WEIGHTS, CPU, QUIET)
    for save in (True, "if-any", False):
        report, _ = segment_case(find_case(a_case_folder), engine, tmp_path / str(save), Options(save_extras=save))
        names = [name for name in report["outputs"] if "uncertainty" in name or "fused" in name]
        assert len(names) == (4 if save else 0)
    (fused,) = (name for name in (tmp_path / "True").iterdir() if "fused" in name.name)
    loaded, written = load_case(find_case(a_case_folder)), read_volume(fused).array
    outside = (loaded.images == 0).all(axis=0)
    assert not written[outside].any()
    assert 0 < written.max() <= 1
