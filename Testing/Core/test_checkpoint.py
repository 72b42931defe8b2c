from __future__ import annotations

import dataclasses
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from tiny import TINY

from DABSegCore import checkpoint
from DABSegCore.checkpoint import load_checkpoint, save_checkpoint
from DABSegCore.config import PRESETS, ModelConfig
from DABSegCore.errors import InputError
from DABSegCore.models import build_model


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(5)
    return build_model(TINY).eval()


@pytest.fixture
def saved(tmp_path: Path, model: torch.nn.Module) -> Path:
    path = tmp_path / "weights with spaces é.pt"
    save_checkpoint(path, model, TINY, {"metrics": {"dice": {"WT": 0.9}}, "thresholds": {"ET": 0.4}})
    return path


def edited(path: Path, **changes: object) -> Path:
    """The same checkpoint with other top-level entries."""
    content = torch.load(path, weights_only=True)
    torch.save({**content, **changes}, path)
    return path


def refused(path: Path, code: str, match: str, **options: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_checkpoint(path, **options)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_a_checkpoint_comes_back_as_the_same_network(saved: Path, model: torch.nn.Module) -> None:
    loaded, meta = load_checkpoint(saved)
    image = torch.rand(1, 4, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(image).logits, model(image).logits)
    assert not loaded.training
    assert meta["metrics"] == {"dice": {"WT": 0.9}}
    assert meta["thresholds"] == {"ET": 0.4, "TC": 0.5, "WT": 0.5}
    assert meta["preset"] == "custom"
    assert os.listdir(saved.parent) == [saved.name]  # no temporary file is left


def test_half_precision_halves_the_file_and_loads_as_float32(saved: Path, model: torch.nn.Module) -> None:
    half = saved.with_name("half.pt")
    save_checkpoint(half, model, TINY, {}, half=True)
    state = torch.load(half, weights_only=True)["state"]
    assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float16}
    loaded, _ = load_checkpoint(half)
    for name, tensor in loaded.state_dict().items():
        original = model.state_dict()[name]
        assert tensor.dtype == original.dtype
        assert torch.equal(tensor, original.half().float() if original.is_floating_point() else original)


def test_saving_where_one_may_not_write_leaves_nothing(tmp_path: Path, model: torch.nn.Module) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way", encoding="utf-8")
    with pytest.raises(InputError, match="could not be written"):
        save_checkpoint(blocker / "weights.pt", model, TINY, {})
    assert os.listdir(tmp_path) == ["file"]


def test_a_save_that_dies_keeps_the_old_file(
    saved: Path, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full_disk(content: object, file: object) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full_disk)
    with pytest.raises(InputError, match="the disk is full"):
        save_checkpoint(saved, model, TINY, {})
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_absent_weights_are_named(tmp_path: Path) -> None:
    refused(tmp_path / "none.pt", "missing-weights", "no weights at .*none.pt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncated_weights_are_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    refused(saved, "bad-checkpoint", "not a DABSeg checkpoint or is damaged")


def test_flipped_bytes_are_refused_or_harmless(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[60:200] = bytes(140)  # inside the pickled part
    saved.write_bytes(content)
    refused(saved, "bad-checkpoint", "not a DABSeg checkpoint or is damaged")


class Hostile:
    """Unpickling this creates a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return (open, (str(self.victim), "w"))


@pytest.mark.parametrize("kind", ["pickle", "torch", "hidden", "legacy", "polyglot"])
def test_code_in_a_checkpoint_never_runs(saved: Path, kind: str) -> None:
    victim, trap = saved.parent / "victim", Hostile(saved.parent / "victim")
    if kind == "pickle":
        saved.write_bytes(pickle.dumps(trap))
    elif kind == "torch":
        torch.save(trap, saved)
    elif kind == "hidden":
        edited(saved, meta={"metrics": trap})
    else:
        archive = saved.read_bytes()
        torch.save({"format": "dabseg-checkpoint", "state": trap}, saved, _use_new_zipfile_serialization=False)
        if kind == "polyglot":  # a zip archive for those who look at its end, the old format for those who begin
            saved.write_bytes(saved.read_bytes() + archive)
            assert zipfile.is_zipfile(saved)
    refused(saved, "bad-checkpoint", "nothing in it was run")
    assert not victim.exists()
    if kind == "torch":  # the trap itself works: without our care it would have gone off
        torch.load(saved, weights_only=False).close()
        assert victim.exists()


def test_torch_never_sees_the_older_formats(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, harmless = saved.read_bytes(), io.BytesIO()
    torch.save(torch.load(saved, weights_only=True), harmless, _use_new_zipfile_serialization=False)
    saved.write_bytes(harmless.getvalue() + archive)
    assert isinstance(torch.load(saved, weights_only=True), dict)  # torch itself takes the pickle in front
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("torch.load was called"))
    refused(saved, "bad-checkpoint", "nothing in it was run")


@pytest.mark.parametrize("method", ["stat", "open"])
def test_weights_that_may_not_be_read_are_said_to_be_so(
    saved: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, method, locked)
    refused(saved, "unreadable", "cannot be read .Permission denied.")


def test_a_folder_is_no_weights(tmp_path: Path) -> None:
    refused(tmp_path, "missing-weights", "no weights at")


@pytest.mark.parametrize("make", [lambda p: zipfile.ZipFile(p, "w").close(), lambda p: p.write_text("hello")])
def test_other_files_are_refused(tmp_path: Path, make: object) -> None:
    path = tmp_path / "other.pt"
    make(path)
    refused(path, "bad-checkpoint", "not a DABSeg checkpoint or is damaged")


def test_other_torch_files_are_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    refused(tmp_path / "tensor.pt", "bad-checkpoint", "not a DABSeg checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "theirs.pt")
    refused(tmp_path / "theirs.pt", "bad-checkpoint", "holds no DABSeg checkpoint")


@pytest.mark.parametrize(
    ("changes", "code", "match"),
    [
        ({"modalities": ["t1ce", "t1", "t2", "flair"]}, "modalities-mismatch", "trained with modalities"),
        ({"modalities": None}, "modalities-mismatch", "trained with modalities None"),
        ({"regions": ["WT", "TC", "ET"]}, "regions-mismatch", "trained with regions"),
        ({"format_version": 99}, "bad-checkpoint", "format 99"),
        ({"config": {"wings": 2}}, "bad-checkpoint", "wings"),
        ({"state": None}, "bad-checkpoint", "lacks its section 'state'"),
        ({"format_version": torch.zeros(3)}, "bad-checkpoint", "format tensor"),
        ({"meta": {"thresholds": {"ET": 7}}}, "bad-checkpoint", "between 0 and 1"),
        ({"meta": {"thresholds": {"ET": float("nan")}}}, "bad-checkpoint", "between 0 and 1"),
        ({"meta": {"thresholds": {"ET": "0.5"}}}, "bad-checkpoint", "between 0 and 1"),
        ({"meta": {"et_min_ml": "none"}}, "bad-checkpoint", "et_min_ml .* got 'none'"),
        ({"meta": {"et_min_ml": -1}}, "bad-checkpoint", "et_min_ml .* got -1"),
        ({"meta": {"et_min_ml": float("nan")}}, "bad-checkpoint", "et_min_ml .* got nan"),
        ({"meta": {"window": 8}}, "bad-checkpoint", "window .* from 32 to 1024, got 8"),
        ({"meta": {"window": "all"}}, "bad-checkpoint", "window .* got 'all'"),
        ({"meta": {"et_min_ml": float("inf")}}, "bad-checkpoint", "et_min_ml .* got inf"),
        ({"state": {1: torch.zeros(1)}}, "bad-checkpoint", "entry 1 in .* no plain tensor"),
        ({"state": {"weight": "heavy"}}, "bad-checkpoint", "entry 'weight' in .* no plain tensor"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(saved: Path, changes: dict, code: str, match: str) -> None:
    refused(edited(saved, **changes), code, match)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("embed_dim", "x"),
        ("embed_dim", -1),
        ("embed_dim", 10**7),
        ("embed_dim", 9),
        ("window", 0),
        ("depths", [1, 1]),
        ("depths", 3),
        ("heads", [3, 1, 1]),
        ("norm_groups", 5),
        ("decoder_dims", [16]),
        ("decoder_dims", [16, 16, 16, 8.5]),
        ("drop_path", "a"),
        ("drop_path", float("nan")),
        ("stem", "weird"),
        ("stem", ["pyramid"]),
        ("stem_blocks", []),
        ("fuse", 1),
        ("tail_width", True),
        ("modalities", 3),
        ("regions", 4),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(saved: Path, field: str, value: object) -> None:
    config = {**dataclasses.asdict(TINY), field: value}
    refused(edited(saved, config=config), "bad-checkpoint", "configuration in .* does not fit this program")


def test_no_memory_is_taken_for_weights_that_do_not_fit(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.nn.Module] = []
    monkeypatch.setattr(checkpoint, "build_model", lambda config: made.append(build_model(config)) or made[-1])
    config = dataclasses.replace(TINY, embed_dim=512, depths=(2, 2, 2))  # 4 GB
    refused(edited(saved, config=dataclasses.asdict(config)), "weights-mismatch", "mis-shaped")
    assert {parameter.device.type for parameter in made[0].parameters()} == {"meta"}


@pytest.mark.parametrize(
    "make", [torch.Tensor.to_sparse, lambda t: t + 1j, lambda t: t[:1].clone().expand(t.shape), lambda t: t.to("meta")]
)
def test_weights_of_an_odd_kind_are_refused(saved: Path, make: object) -> None:
    state = torch.load(saved, weights_only=True)["state"]
    name = next(key for key, tensor in state.items() if len(tensor) > 1)
    edited(saved, state={**state, name: make(state[name])})
    refused(saved, "bad-checkpoint", f"'{name}' in .* no plain tensor")


def test_another_preset_than_asked_for_is_refused(saved: Path) -> None:
    refused(saved, "preset-mismatch", "of preset 'custom', but 'small' was asked for", expect_preset="small")


def test_the_preset_asked_for_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checkpoint.NETWORKS, "tiny", TINY)
    save_checkpoint(tmp_path / "tiny.pt", build_model(TINY), TINY, {})
    assert load_checkpoint(tmp_path / "tiny.pt", expect_preset="tiny")[1]["preset"] == "tiny"


def test_weights_that_do_not_fit_are_refused_by_name(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)["state"]
    names = list(state)
    wrong = dict(state)
    wrong["surplus.weight"] = wrong.pop(names[0])
    wrong[names[1]] = torch.zeros(2, 3, 5, 7)
    edited(saved, state=wrong)
    with pytest.raises(InputError) as caught:
        load_checkpoint(saved)
    assert caught.value.code == "weights-mismatch"
    for text in (
        f"1 missing ({names[0]})",
        "1 unexpected (surplus.weight)",
        f"{names[1]} [2, 3, 5, 7] instead of",
    ):
        assert text in str(caught.value)


def test_weights_with_nan_are_refused_by_name(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)["state"]
    name = next(key for key, tensor in state.items() if tensor.is_floating_point())
    edited(saved, state={**state, name: torch.full_like(state[name], float("nan"))})
    refused(saved, "bad-checkpoint", f"{name}.* hold NaN or Inf")


def test_every_preset_survives_the_trip_through_a_checkpoint(tmp_path: Path) -> None:
    for config in PRESETS.values():
        assert ModelConfig.from_dict(dataclasses.asdict(config)) == config
        assert checkpoint.preset_name(config) == config.preset


def test_loading_brings_no_more_of_torch_than_is_needed() -> None:
    """`to_empty` would import the half of torch that compiles, which takes longer than the weights do."""
    program = (
        "import sys, torch; from DABSegCore import checkpoint; before = len(sys.modules);"
        "checkpoint.load_checkpoint(checkpoint.shipped_weights()); sys.exit(len(sys.modules) - before > 60)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], cwd=Path(checkpoint.__file__).parents[1], check=False
        ).returncode
        == 0
    )


def test_a_network_is_its_own_whatever_the_file_shares(saved: Path) -> None:
    """Stored in half precision and another order of axes, a weight comes out in float32 and in the network's."""
    state = torch.load(saved, weights_only=True)["state"]
    name = next(name for name, tensor in state.items() if tensor.dim() == 5 and min(tensor.shape[:2]) > 1)
    state[name] = state[name].half().transpose(0, 1).contiguous().transpose(0, 1)
    loaded = dict(load_checkpoint(edited(saved, state=state))[0].named_parameters())[name]
    assert not state[name].is_contiguous()
    assert loaded.is_contiguous()
    assert loaded.dtype == torch.float32
    assert loaded.requires_grad
    assert torch.equal(loaded, state[name].float())
