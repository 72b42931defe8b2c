"""The training loop: it learns, it writes checkpoints others can use, and a second sitting goes on from the first."""

from __future__ import annotations

import csv

import pytest
import torch

from DABSegCore.checkpoint import load_checkpoint
from DABSegCore.config import TrainConfig
from DABSegCore.errors import InputError
from DABSegCore.files import make_folder
from DABSegCore.progress import Progress
from DABSegCore.stream import Patch
from DABSegCore.train import MOST_SKIPPED, Run, load_cases, train, training_dtype


class OnePatch:
    """A stream that always gives one patch: a bright cube to find, and noise to take away."""

    def __init__(self, batch: int = 1) -> None:
        generator = torch.Generator().manual_seed(0)
        sharp = torch.full((batch, 4, 32, 32, 32), 0.3)
        regions = torch.zeros(batch, 3, 32, 32, 32)
        for r, edge in enumerate((4, 7, 11)):
            regions[:, r, 16 - edge : 16 + edge, 16 - edge : 16 + edge, 16 - edge : 16 + edge] = 1
        sharp = sharp + 0.2 * regions.sum(1, keepdim=True)
        corrupted = (sharp + 0.1 * torch.randn(sharp.shape, generator=generator)).clamp(0.01, 1)
        self.patch = Patch(corrupted, sharp, regions, torch.ones(batch, 1, 32, 32, 32))

    def next(self) -> Patch:
        return self.patch


def test_the_loop_learns_to_outline_and_to_restore(tmp_path):
    torch.manual_seed(0)
    run = Run(TrainConfig(out=tmp_path, patch=32, max_minutes=60, learning_rate=5e-3), torch.device("cpu"))
    logs = [run.advance(OnePatch()) for _ in range(60)]
    assert logs[-1]["seg"] < 0.75 * logs[0]["seg"]
    assert logs[-1]["rec"] < 0.9 * logs[0]["rec"]


def test_at_first_only_the_stem_learns_and_a_run_can_start_from_weights(tmp_path):
    torch.manual_seed(0)
    first = Run(TrainConfig(out=tmp_path / "a"), torch.device("cpu"))
    make_folder(tmp_path / "a")
    first.save([])
    start = tmp_path / "a" / "weights.pt"
    run = Run(
        TrainConfig(out=tmp_path / "b", patch=32, init=start, stem_minutes=60, learning_rate=5e-3), torch.device("cpu")
    )
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    for name, tensor in first.model.named_parameters():
        assert torch.equal(tensor, before[name])
    logs = [run.advance(OnePatch()) for _ in range(30)]
    assert logs[-1]["rec"] < logs[0]["rec"]
    moved = {name.split(".")[0] for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"stem"}


def test_the_learning_rate_warms_up_and_ends_at_nothing(tmp_path):
    run = Run(TrainConfig(out=tmp_path, max_minutes=1, learning_rate=1.0), torch.device("cpu"))
    assert run.learning_rate() == pytest.approx(0.01, rel=0.01)
    run.step = 1000
    assert run.learning_rate() == pytest.approx(1, abs=0.01)
    run._banked_s = 30
    assert run.learning_rate() == pytest.approx(0.5, abs=0.02)
    run._banked_s = 60
    assert run.learning_rate() == pytest.approx(0, abs=1e-6)


def test_small_patches_on_a_cpu_train_in_float32(monkeypatch):
    monkeypatch.setattr("DABSegCore.train.half_dtype", lambda device, autocast: torch.bfloat16)
    assert training_dtype(torch.device("cpu"), 64) is None
    assert training_dtype(torch.device("cpu"), 96) is torch.bfloat16
    assert training_dtype(torch.device("cuda"), 64) is torch.bfloat16
    monkeypatch.setattr("DABSegCore.train.half_dtype", lambda device, autocast: torch.float16)
    assert training_dtype(torch.device("cuda"), 96) is None


def test_a_gradient_that_is_not_finite_changes_nothing_and_too_many_end_the_run(tmp_path):
    run, stream = Run(TrainConfig(out=tmp_path, patch=32), torch.device("cpu")), OnePatch()
    stream.patch.corrupted[0, 0, 0, 0, 0] = float("nan")
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    assert run.advance(stream)["skipped"] == 1
    assert all(torch.equal(p, before[name]) for name, p in run.model.named_parameters())
    run.skipped = MOST_SKIPPED - 1
    with pytest.raises(InputError, match="50 steps in a row"):
        run.advance(stream)


def test_a_run_is_written_usable_and_resumed(tmp_path):
    out = tmp_path / "run"
    config = TrainConfig(out=out, virtual=1, virtual_validation=1, patch=32, pool=1, severities=(0,), max_minutes=0.02)
    train(config, Progress("quiet"))
    model, meta = load_checkpoint(out / "weights.pt", expect_preset="small")
    assert meta["step"] >= 1
    assert meta["training"]["virtual"] == 1
    rows = list(csv.reader((out / "validation.csv").read_text(encoding="utf-8").splitlines()))
    assert [row[2:5] for row in rows] == [["kind", "severity", "cases"], ["virtual", "0", "1"], ["virtual", "2", "1"]]
    assert model(torch.rand(1, 4, 32, 32, 32)).logits.shape == (1, 3, 32, 32, 32)

    first = torch.load(out / "last.pt", weights_only=True)
    run = Run(TrainConfig(out=out), torch.device("cpu"))
    run.resume()
    assert run.step == first["step"]
    assert run.elapsed_s >= first["elapsed_s"]
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, first["model"][name])


def test_nothing_to_train_on_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to train on"):
        load_cases(TrainConfig(out=tmp_path, virtual=0), Progress("quiet"))


def test_an_unknown_validation_case_is_refused_by_name(tmp_path, a_case_folder):
    config = TrainConfig(out=tmp_path, data=a_case_folder.parent, validation=("Nobody",), virtual=0)
    with pytest.raises(InputError, match="'Nobody' is not among the 1 cases"):
        load_cases(config, Progress("quiet"))


def test_no_virtual_patient_is_both_trained_on_and_validated_with(tmp_path, monkeypatch):
    monkeypatch.setattr("DABSegCore.train.virtual_case", lambda seed: seed)
    training, validation = load_cases(TrainConfig(out=tmp_path, virtual=500, virtual_validation=50), Progress("quiet"))
    assert (len(training), len(validation)) == (500, 50)
    assert not set(training) & set(validation)


def test_a_damaged_run_and_another_preset_are_refused_in_a_sentence(tmp_path):
    config = TrainConfig(out=tmp_path)
    Run(config, torch.device("cpu")).save([])
    with pytest.raises(InputError, match="trains preset 'small', not 'base'"):
        Run(TrainConfig(out=tmp_path, preset="base"), torch.device("cpu")).resume()
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"last\.pt is damaged"):
        Run(config, torch.device("cpu")).resume()
