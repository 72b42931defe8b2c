"""Preset `paper` against the plain restatement of the published network: same weights, same answer."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from DABSegCore.config import BASE, PAPER
from DABSegCore.errors import InputError
from DABSegCore.models import DABSeg, build_model
from DABSegCore.models.published_weights import PASSED_OVER, fill, key_map, load_published
from Testing.published_reference import PublishedNetwork, randomise

TOLERANCE = 1e-4
"""Float32 rounding leaves 2e-6; every swap of tensors tried below, more than 30 times this."""


@pytest.fixture(scope="module")
def reference() -> PublishedNetwork:
    return randomise(PublishedNetwork().eval(), seed=1)


@pytest.fixture(scope="module")
def published(reference: PublishedNetwork) -> dict[str, Tensor]:
    """The state dict as the released code would save it; tests copy the dict before they change it."""
    return dict(reference.state_dict())


@pytest.fixture(scope="module")
def filled(published: dict[str, Tensor]) -> DABSeg:
    model = build_model(PAPER).eval()
    fill(model, published)
    return model


@pytest.fixture
def blank() -> DABSeg:
    """A paper network without numbers: enough for everything that is refused before a number moves."""
    with torch.device("meta"):
        return build_model(PAPER).eval()


def respelled(state: dict[str, Tensor], stem: str, trunk: str) -> dict[str, Tensor]:
    return {
        name.replace("fdmds.", stem, 1) if name.startswith("fdmds.") else name.replace("dami.", trunk, 1): tensor
        for name, tensor in state.items()
    }


def image(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(7))


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(scope="module")
def question() -> Tensor:
    return image(1, 4, 64, 64, 32)


@pytest.fixture(scope="module")
def answer(reference: PublishedNetwork, question: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return reference(question)


@torch.no_grad()
def largest_difference(model: DABSeg, x: Tensor, answer: tuple[Tensor, Tensor]) -> float:
    prediction = model(x)
    assert answer[0].std() > 0.1  # logits worth comparing
    pairs = ((prediction.logits, answer[0]), (prediction.restored, answer[1]))
    return max(float((ours - theirs).abs().max()) for ours, theirs in pairs)


# 64^3: padding at 16, 8; windows cut short at 4, 2. 256x32x32: shifted windows even in the bottleneck (8x1x1).
@pytest.mark.parametrize("shape", [(1, 4, 64, 64, 64), (2, 4, 64, 32, 32), (1, 4, 256, 32, 32)])
def test_same_weights_give_the_same_answer(filled: DABSeg, reference: PublishedNetwork, shape: tuple[int, ...]) -> None:
    x = image(*shape)
    with torch.no_grad():
        answer = reference(x)
    assert largest_difference(filled, x, answer) < TOLERANCE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("layers.0.blocks.0.self_attn_t1.", "layers.0.blocks.0.self_attn_t2."),
        ("layers.2.blocks.1.cross_attn_1.", "layers.2.blocks.1.cross_attn_2."),
        ("layers.1.blocks.1.cross_attn_1.query.", "layers.1.blocks.1.cross_attn_1.value."),
        (
            "bottleneck.0.self_attn_x.relative_position_bias_table",
            "bottleneck.1.self_attn_x.relative_position_bias_table",
        ),
        ("cca3.conv1.", "cca3.conv2."),
        ("cca2.conv_h.", "cca2.conv_w."),
        ("patch_embed_t1ce.proj.conv1.residual.norm.", "patch_embed_flair.proj.conv1.residual.norm."),
    ],
)
def test_a_swap_of_two_published_tensors_is_seen(
    filled: DABSeg, published: dict[str, Tensor], question: Tensor, answer: tuple[Tensor, Tensor], one: str, other: str
) -> None:
    swapped = copy.deepcopy(filled)
    state = dict(published)
    for name in published:
        if one in name:
            partner = name.replace(one, other)
            state[name], state[partner] = published[partner], published[name]
    fill(swapped, state)
    assert largest_difference(swapped, question, answer) > 30 * TOLERANCE


@pytest.mark.parametrize(
    ("stem", "trunk", "module", "wrapper"),
    [("fdmds.", "dami.", "module.", None), ("deblur_stem.", "ckd.", "", "state_dict")],
)
def test_a_file_of_either_spelling_is_read(
    tmp_path: Path,
    filled: DABSeg,
    published: dict[str, Tensor],
    stem: str,
    trunk: str,
    module: str,
    wrapper: str | None,
) -> None:
    state = {module + name: tensor for name, tensor in respelled(published, stem, trunk).items()}
    torch.save({wrapper: state, "epoch": 250} if wrapper else state, tmp_path / "published.pth")
    model = load_published(tmp_path / "published.pth")
    assert not model.training
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), filled.state_dict().values(), strict=True)
    )


def test_the_trunk_alone_leaves_the_stem_an_identity(
    tmp_path: Path, reference: PublishedNetwork, published: dict[str, Tensor]
) -> None:
    trunk = {name.removeprefix("dami."): tensor for name, tensor in published.items() if name.startswith("dami.")}
    torch.save({"model": trunk}, tmp_path / "trunk.pth")
    model = load_published(tmp_path / "trunk.pth")
    x = image(1, 4, 64, 32, 32)
    with torch.no_grad():
        prediction = model(x)
        expected = reference.dami["decoder"](x, reference.dami["encoder"](x))
    assert torch.equal(prediction.restored, x)
    torch.testing.assert_close(prediction.logits, expected, rtol=0, atol=TOLERANCE)


def test_every_published_tensor_is_used_once_or_knowingly_passed_over(published: dict[str, Tensor]) -> None:
    used = [name for entry in key_map() for name in entry.theirs]
    passed_over = {name for name in published if PASSED_OVER.search(name)}
    assert len(published) == 908
    assert len(used) == len(set(used))
    assert set(used) ^ passed_over == set(published)
    dead = {name for name in passed_over if not name.endswith("relative_position_index")}
    assert (len(dead), sum(published[name].numel() for name in dead)) == (54, 235_340)


def test_what_is_passed_over_never_runs_in_the_published_network(reference: PublishedNetwork) -> None:
    logits, _ = reference(image(1, 4, 32, 32, 32))
    wanted = [p for name, p in reference.named_parameters()]
    gradients = torch.autograd.grad(logits.sum(), wanted, allow_unused=True)
    unused = {name for (name, _), g in zip(reference.named_parameters(), gradients, strict=True) if g is None}
    assert unused == {name for name, _ in reference.named_parameters() if PASSED_OVER.search(name)}


def test_missing_tensors_are_named(blank: DABSeg, published: dict[str, Tensor]) -> None:
    state = {name: tensor for name, tensor in published.items() if ".cca4." not in name}
    with pytest.raises(InputError, match=r"lacks 20 tensors \(dami\.decoder\.cca4\.conv1\.weight, .*, \.\.\.\)"):
        fill(blank, state)


def test_a_missing_stem_is_no_trunk_alone(blank: DABSeg, published: dict[str, Tensor]) -> None:
    state = {name: tensor for name, tensor in published.items() if name.startswith("dami.")}
    with pytest.raises(InputError, match=r"lacks 8 tensors \(fdmds\.conv1"):
        fill(blank, state)


def test_unexpected_tensors_are_named(blank: DABSeg, published: dict[str, Tensor]) -> None:
    state = {**published, "dami.encoder.layers.3.norm.weight": torch.ones(2)}
    with pytest.raises(InputError, match=r"does not have: 1 tensor \(dami\.encoder\.layers\.3\.norm\.weight\)"):
        fill(blank, state)


# The same number of values in another shape, and a thing that is no tensor at all.
@pytest.mark.parametrize("bad", [torch.zeros(32, 96), "weights"])
def test_misshaped_tensors_are_named(blank: DABSeg, published: dict[str, Tensor], bad: object) -> None:
    name = "dami.encoder.layers.0.blocks.0.self_attn_t1.qkv.weight"
    assert published[name].shape == (96, 32)
    with pytest.raises(InputError, match=rf"in other shapes 1 tensor \({name}\)"):
        fill(blank, {**published, name: bad})


def test_a_refused_state_changes_nothing(filled: DABSeg, published: dict[str, Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in filled.state_dict().items()}
    state = {name: torch.zeros_like(tensor) for name, tensor in published.items()}
    state["fdmds.conv3.bias"] = torch.zeros(5)
    with pytest.raises(InputError):
        fill(filled, state)
    assert all(torch.equal(before[name], tensor) for name, tensor in filled.state_dict().items())


def test_other_presets_are_refused(published: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        model = build_model(BASE)
    with pytest.raises(InputError, match="preset 'paper' only"):
        fill(model, published)


def test_foreign_and_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(InputError, match="no weights at"):
        load_published(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="no PyTorch file of plain tensors"):
        load_published(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(InputError, match="no PyTorch file of plain tensors"):
        load_published(path)
    torch.save({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="holds no published DABSeg"):
        load_published(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="or is damaged"):
        load_published(path)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    path, trace = tmp_path / "hostile.pth", tmp_path / "trace"
    torch.save({"dami.encoder.norm.weight": _Touch(trace)}, path)
    with pytest.raises(InputError, match="nothing in it was run"):
        load_published(path)
    assert not trace.exists()


def test_a_pickle_with_an_archive_behind_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "polyglot.pth"
    torch.save({"conv.weight": torch.zeros(1)}, path)
    archive = path.read_bytes()
    torch.save({"dami.encoder.norm.weight": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes() + archive)
    assert zipfile.is_zipfile(path)
    assert torch.load(path, weights_only=True).keys() == {"dami.encoder.norm.weight"}  # torch takes the pickle
    with pytest.raises(InputError, match="no PyTorch file of plain tensors"):
        load_published(path)


def test_weights_that_may_not_be_read_are_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", locked)
    with pytest.raises(InputError, match="cannot be read .Permission denied.") as caught:
        load_published(tmp_path / "locked" / "weights.pth")
    assert caught.value.code == "unreadable"


class _Touch:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_sizes_and_arithmetic_are_the_published_ones() -> None:
    with torch.device("meta"):
        networks = {"published": PublishedNetwork().eval(), "ours": build_model(PAPER).eval()}
    assert {name: parameters(network) for name, network in networks.items()} == {
        "published": 82_293_823,
        "ours": 82_058_483,
    }
    gflop = {}
    for name, network in networks.items():
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 4, 128, 128, 128, device="meta"))
        gflop[name] = counter.get_total_flops() / 1e9
    assert gflop["published"] == pytest.approx(886.4, abs=0.1)
    # Ours projects after the padding is cut off, theirs before: same answer, 1.6 GFLOP less.
    assert gflop["ours"] == pytest.approx(gflop["published"], rel=5e-3)
