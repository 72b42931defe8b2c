"""One step of a training and its state: it learns, stops at what is no number, and is kept whole or not at all."""

from __future__ import annotations

import copy
import dataclasses
import errno
import math
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny import TINY, tiny_weights
from torch import Tensor

from DABSegCore import checkpoint
from DABSegCore.checkpoint import load_checkpoint, save_checkpoint
from DABSegCore.errors import InputError
from DABSegCore.losses import Objective
from DABSegCore.models import build_model
from DABSegCore.models.prediction import Truth
from DABSegCore.networks import NETWORKS
from DABSegCore.training import run as module
from DABSegCore.training.config import TrainConfig, resolve
from DABSegCore.training.processes import Processes
from DABSegCore.training.run import FORMAT_VERSION, MOST_SKIPPED, STATE, Run, _gain_db, read_state, training_dtype
from DABSegCore.training.schedule import Schedule
from DABSegCore.training.stream import Patch

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """`small` is a tiny network with chance in its forward; the presets as they are go by other names."""
    for name, preset in list(NETWORKS.items()):
        monkeypatch.setitem(NETWORKS, f"true {name}", preset)
    monkeypatch.setitem(NETWORKS, "small", dataclasses.replace(TINY, drop_path=0.4))


def still(monkeypatch) -> None:
    """No chance in the forward, so that parts of a batch give what the whole gives."""
    monkeypatch.setitem(NETWORKS, "small", TINY)


def config(**changes: object) -> TrainConfig:
    given = {"preset": "small", "patch": 32, "steps": 1000, "warm_up_steps": 0, "ema": 0.9}
    return TrainConfig(**{**given, **changes})


def a_run(processes: Processes | None = None, **changes: object) -> Run:
    settings = config(**changes)
    return Run(settings, processes or Processes(CPU), Schedule.of(settings, cases=1))


def patch(batch: int = 1, seed: int = 0) -> Patch:
    """A bright cube to find, and noise to take away."""
    generator = torch.Generator().manual_seed(seed)
    regions = torch.zeros(batch, 3, 32, 32, 32)
    for i in range(batch):
        for r, edge in enumerate((4, 7, 11)):
            inside = slice(16 - edge, 16 + edge - i)
            regions[i, r, inside, inside, inside] = 1
    sharp = 0.3 + 0.2 * regions.sum(1, keepdim=True).expand(-1, 4, -1, -1, -1)
    corrupted = (sharp + 0.1 * torch.randn(sharp.shape, generator=generator)).clamp(0.01, 1)
    names = tuple(f"case_{seed}_{i} (S2)" for i in range(batch))
    return Patch(corrupted, sharp, regions, torch.ones(batch, 1, 32, 32, 32), names)


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def flat(state: object, name: str = "") -> dict[str, object]:
    """Nested dictionaries and lists as one dictionary of tensors and plain values."""
    if isinstance(state, (dict, list, tuple)):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for key, value in pairs for k, v in flat(value, f"{name}/{key}").items()}
    return {name: state}


# Steps


def test_it_learns_to_outline_and_to_restore(monkeypatch):
    still(monkeypatch)
    run, shown = a_run(learning_rate=1e-2), patch()
    logs = [run.advance([shown], run.step / 1000) for _ in range(36)]
    assert logs[-1]["seg"] < 0.7 * logs[0]["seg"]
    assert logs[-1]["rec"] < 0.98 * logs[0]["rec"]
    assert logs[-1]["gain_db"] > 0.15
    assert (logs[-1]["dice"] > logs[0]["dice"]).all()
    assert run.step == 36


@pytest.mark.parametrize("preset", ["small", "base", "paper"])
def test_every_weight_of_every_preset_has_a_gradient(preset):
    """Else several processes would wait for one another for ever (DistributedDataParallel)."""
    run = a_run(preset=f"true {preset}")
    run.advance([patch(2)], 0.0)
    without = [name for name, parameter in run.model.named_parameters() if parameter.grad is None]
    assert without == []


def test_features_of_restored_come_nearer_to_those_of_sharp_where_they_count(monkeypatch):
    still(monkeypatch)
    apart = {}
    for weight in (1e-9, 1.0):
        run = a_run(learning_rate=1e-2, lambda_feat=weight)
        logs = [run.advance([patch()], run.step / 1000) for _ in range(12)]
        apart[weight] = [log["feat"].item() for log in logs]
    assert apart[1.0][0] == apart[1e-9][0] > 0
    assert apart[1.0][-1] < 0.7 * apart[1e-9][-1]
    assert "feat" not in a_run().advance([patch()], 0.0)


def test_features_are_of_the_encoder_before_anything_else_and_teach_it_in_any_number_format():
    """Blur that is none, and a stem that has not learnt: the features agree. Half precision changes no gradient."""
    torch.manual_seed(0)
    model = build_model(TINY)
    sharp = patch().sharp[..., :20].contiguous()  # a size that has to be padded
    truth = Truth(patch().regions, sharp, sharp[:, :1])
    of_restored, of_sharp = model(sharp, truth).features
    assert torch.equal(of_restored, of_sharp)
    assert (of_restored.requires_grad, of_sharp.requires_grad) == (True, False)
    assert model(sharp).features is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = model(0.9 * sharp, truth)
    answer.features[0].float().sum().backward()
    assert model.encoder.stem.main[0][0].weight.grad.abs().sum() > 0


def test_features_of_a_network_that_shows_none_cannot_count(tmp_path):
    with pytest.raises(InputError, match="--lambda-feat compares features") as fault:
        a_run(preset="true nafnet-small", lambda_feat=1.0)
    assert fault.value.code == "no-features"
    tiny_weights(tmp_path / "restorer.pt")
    two = a_run(restorer=tmp_path / "restorer.pt", lambda_feat=1.0)  # but those of a segmenter behind one can
    assert two.advance([patch()], 0.0)["feat"] > 0


def test_weights_begin_as_the_seed_says_or_where_another_run_ended(tmp_path):
    assert same(weights(a_run(seed=1).model), weights(a_run(seed=1).model))
    assert not same(weights(a_run(seed=1).model), weights(a_run(seed=2).model))
    given = a_run(seed=3).model
    save_checkpoint(tmp_path / "weights.pt", given, NETWORKS["small"], {})
    run = a_run(seed=1, init=tmp_path / "weights.pt")
    assert same(weights(run.model), weights(given))
    assert same(weights(run.average), weights(given))
    assert all(parameter.requires_grad for parameter in run.model.parameters())
    assert not any(parameter.requires_grad for parameter in run.average.parameters())


def test_weights_of_another_preset_are_no_start(tmp_path):
    tiny_weights(tmp_path / "other.pt")  # without chance in the forward
    with pytest.raises(InputError, match="of preset 'custom', but 'small' was asked for"):
        a_run(init=tmp_path / "other.pt")


def test_the_optimiser_and_the_learning_rate_are_those_of_the_settings():
    run = a_run(learning_rate=0.25, last_learning_rate=0.05, weight_decay=0.5)
    (group,) = run.optimiser.param_groups
    assert type(run.optimiser) is torch.optim.AdamW
    assert (group["weight_decay"], group["amsgrad"]) == (0.5, False)
    run.advance([patch()], 0.5)
    assert group["lr"] == pytest.approx(0.15)
    paper = a_run(**{**_paper(), "preset": "small", "patch": 32})
    (group,) = paper.optimiser.param_groups
    assert type(paper.optimiser) is torch.optim.Adam
    assert (group["weight_decay"], group["amsgrad"], group["betas"]) == (1e-5, True, (0.9, 0.999))


def _paper() -> dict[str, object]:
    settings = resolve({"recipe": "paper", "steps": 300}, on_gpu=False)
    return {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}


@pytest.mark.parametrize(
    ("recipe", "share", "expected"),
    [
        ("paper", 0.5, Objective((1.0, 1.0, 1.0), 0.1, batch_dice=False, bce=False, brain_only=False)),
        ("paper", 0.9, Objective((2.0, 1.0, 1.0), 0.1, batch_dice=False, bce=False, brain_only=False)),
        ("best", 0.5, Objective((1.0, 1.0, 1.0), 30.0, batch_dice=True, bce=True, brain_only=True)),
        ("best", 0.9, Objective((1.0, 1.0, 1.0), 30.0, batch_dice=True, bce=True, brain_only=True)),
    ],
)
def test_what_is_minimised_is_what_the_recipe_says_early_and_late(monkeypatch, recipe, share, expected):
    asked = []
    true = module.joint_loss
    monkeypatch.setattr(module, "joint_loss", lambda *args, **more: asked.append(args[4]) or true(*args, **more))
    run = a_run(**({**_paper(), "preset": "small", "patch": 32} if recipe == "paper" else {}))
    run.advance([patch()], share)
    assert asked == [expected]


def test_a_gradient_is_clipped_and_logged_as_it_was():
    free, clipped = a_run(clip=0.0), a_run(clip=0.01)
    norms = [run.advance([patch()], 0.0)["grad_norm"].item() for run in (free, clipped)]
    assert norms[0] == norms[1] > 0.02
    for run, expected in ((free, norms[0]), (clipped, 0.01)):
        norm = torch.stack([p.grad.norm() for p in run.model.parameters()]).norm().item()
        assert norm == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("bce", [True, False])
def test_two_parts_are_one_where_dice_is_of_each_patch(monkeypatch, bce):
    still(monkeypatch)
    shown = patch(4)
    halves = [
        Patch(*(getattr(shown, f.name)[s] for f in dataclasses.fields(Patch))) for s in (slice(2), slice(2, None))
    ]
    whole, parts = (a_run(batch=4, batch_dice=False, bce=bce, clip=0.0) for _ in range(2))
    logs = whole.advance([shown], 0.0), parts.advance(halves, 0.0)
    for name in ("loss", "seg", "rec", "dice", "grad_norm"):
        torch.testing.assert_close(logs[1][name], logs[0][name], rtol=1e-4, atol=1e-6)
    for (name, p), q in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        assert (p.grad - q.grad).abs().max() <= 1e-4 * p.grad.abs().max() + 1e-6, name


def test_gain_by_hand():
    """In the brain's half an error of 0.1 becomes one of 0.01: 20 dB, whatever happens outside."""
    sharp, brain = torch.full((1, 4, 4, 4, 4), 0.5), torch.zeros(1, 1, 4, 4, 4)
    brain[:, :, :2] = 1
    shown = Patch(sharp + 0.1, sharp, torch.zeros(1, 3, 4, 4, 4), brain, ("a",))
    assert _gain_db(sharp + 0.01 * brain + 9 * (1 - brain), shown).item() == pytest.approx(20, abs=1e-3)
    assert _gain_db(sharp + 0.2, shown).item() == pytest.approx(-20 * math.log10(2), abs=1e-3)
    nothing = dataclasses.replace(shown, corrupted=sharp)
    assert _gain_db(sharp + 0.01, nothing).item() == 0


# The average


def test_the_average_by_hand():
    """Step t keeps min(ema, t / (t + 10)) of it: 1/11 after the first, 2/12 after the second, then ema = 0.2."""
    run = a_run(ema=0.2, learning_rate=0.01)
    expected = weights(run.average)
    for decay in (1 / 11, 2 / 12, 0.2, 0.2):
        run.advance([patch()], 0.0)
        now = weights(run.model)
        expected = {name: decay * tensor + (1 - decay) * now[name] for name, tensor in expected.items()}
    for name, tensor in weights(run.average).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)
    assert not same(weights(run.average), weights(run.model))


def test_without_an_average_it_is_the_weights_with_all_their_counts(monkeypatch):
    """BatchNorm, which `paper` has, counts steps in whole numbers."""
    monkeypatch.setitem(NETWORKS, "small", dataclasses.replace(TINY, gate_norm="batch"))
    run = a_run(ema=0.0)
    run.advance([patch()], 0.0)
    counts = [tensor for tensor in weights(run.average).values() if not tensor.is_floating_point()]
    assert same(weights(run.average), weights(run.model))
    assert 1 in [count.item() for count in counts if count.numel() == 1]


# What is no number


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_with_the_names_and_leaves_everything(tmp_path, value):
    run = a_run()
    run.advance([patch()], 0.0)
    run.save(tmp_path)
    kept = (tmp_path / STATE).read_bytes()
    before = weights(run.model), weights(run.average)
    torn = patch(seed=8)
    torn.sharp[0, 0, 0, 0, 0] = value
    with pytest.raises(InputError, match=r"not a number at step 1, on patches of case_7_0 \(S2\), case_8_0") as fault:
        run.advance([patch(seed=7), torn], 0.0)
    assert fault.value.code == "diverged"
    assert same(weights(run.model), before[0])
    assert same(weights(run.average), before[1])
    assert run.step == 1
    assert (tmp_path / STATE).read_bytes() == kept


class Hurt:
    """Makes a run's gradient infinite as long as it is told to; its loss stays a number."""

    def __init__(self, run: Run, value: float) -> None:
        self.on, self.value = True, value
        next(iter(run.model.parameters())).register_hook(lambda g: g * self.value if self.on else g)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(value):
    run = a_run()
    for _ in range(2):
        run.advance([patch()], 0.0)
    before = weights(run.model), weights(run.average), copy.deepcopy(flat(run.optimiser.state_dict()))
    hurt = Hurt(run, value)
    log = run.advance([patch()], 0.0)
    assert not log["grad_norm"].isfinite()
    assert log["loss"].isfinite()
    assert (run.step, run.skipped) == (3, 1)
    assert same(weights(run.model), before[0])
    assert same(weights(run.average), before[1])
    after = flat(run.optimiser.state_dict())
    assert all(torch.equal(torch.as_tensor(after[k]), torch.as_tensor(v)) for k, v in before[2].items() if "state" in k)
    hurt.on = False
    run.advance([patch()], 0.0)
    assert run.skipped == 0
    assert not same(weights(run.model), before[0])


def test_many_such_steps_in_a_row_end_the_run_but_not_as_many_with_a_good_one_between():
    run = a_run()
    hurt = Hurt(run, float("inf"))
    run.skipped = MOST_SKIPPED - 2
    run.advance([patch()], 0.0)
    hurt.on = False
    run.advance([patch()], 0.0)
    hurt.on = True
    run.advance([patch()], 0.0)
    assert run.skipped == 1
    run.skipped = MOST_SKIPPED - 1
    with pytest.raises(InputError, match=f"^{MOST_SKIPPED} steps in a row had a gradient that is not finite") as fault:
        run.advance([patch()], 0.0)
    assert fault.value.code == "diverged"


def test_small_patches_on_a_cpu_train_in_float32(monkeypatch):
    monkeypatch.setattr(module, "half_dtype", lambda device, autocast: torch.bfloat16)
    assert training_dtype(CPU, 64) is None
    assert training_dtype(CPU, 96) is torch.bfloat16
    assert training_dtype(torch.device("cuda"), 64) is torch.bfloat16
    assert a_run(patch=96).dtype is torch.bfloat16
    assert a_run(patch=96, mixed=False).dtype is None
    monkeypatch.setattr(module, "half_dtype", lambda device, autocast: torch.float16)
    assert training_dtype(torch.device("cuda"), 96) is None


# The state file


def test_a_run_taken_up_again_goes_on_as_if_it_had_never_stopped(tmp_path):
    """Bit for bit, chance in the forward included."""
    straight, first = a_run(seed=4), a_run(seed=4)
    for step in range(5):
        straight.advance([patch(seed=step)], step / 10)
    first.pending = [first.advance([patch(seed=step)], step / 10) for step in range(2)]
    first.best, first.validated, first.skipped, first.clock.banked_s = 0.5, 1, 3, 1000.0
    first.save(tmp_path)
    torch.rand(17)  # what else happens in the process does not matter
    second = a_run(seed=4)
    state = read_state(tmp_path)
    assert state["steps"] == 1000
    assert state["config"] == second.config.as_dict()
    second.restore(state, tmp_path)
    assert (second.step, second.best, second.validated, second.skipped) == (2, 0.5, 1, 3)
    assert 1000 <= second.clock.elapsed_s < 1100
    assert same(flat(second.pending), flat(first.pending))
    for step in range(2, 5):
        second.advance([patch(seed=step)], step / 10)
    assert same(weights(second.model), weights(straight.model))
    assert same(weights(second.average), weights(straight.average))
    expected, found = (flat(run.optimiser.state_dict()) for run in (straight, second))
    assert expected.keys() == found.keys()
    assert all(torch.equal(torch.as_tensor(expected[k]), torch.as_tensor(found[k])) for k in expected if "state" in k)


def test_chance_in_the_forward_differs_from_step_to_step_and_from_process_to_process():
    runs = [a_run(), a_run(), a_run(Processes(CPU, rank=1))]
    runs[1].step = 1
    losses = [run.advance([patch()], 0.0)["loss"].item() for run in runs]
    assert len(set(losses)) == 3
    assert a_run().advance([patch()], 0.0)["loss"].item() == losses[0]


def test_only_the_leading_process_writes(tmp_path):
    a_run(Processes(CPU, rank=1, size=1)).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_average_makes_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "small", TINY)
    run = a_run()
    run.advance([patch()], 0.0)
    save_checkpoint(tmp_path / "best.pt", run.average, TINY, {})
    model, _ = load_checkpoint(tmp_path / "best.pt", expect_preset="small")
    assert same(weights(model), weights(run.average))


def test_a_folder_without_a_run_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=f"^{re.escape(str(place))} holds no run to go on with") as fault:
            read_state(place)
        assert fault.value.code == "no-run"


@pytest.fixture
def saved(tmp_path) -> Path:
    a_run().save(tmp_path)
    return tmp_path


def refused(place: Path, state: dict | None = None) -> None:
    """The file in a folder, or what was read from it, is refused in a sentence that names it and the way out."""
    take_up = partial(read_state, place) if state is None else partial(a_run().restore, state, place)
    with pytest.raises(InputError) as fault:
        take_up()
    assert fault.value.code == "bad-run"
    assert str(fault.value).startswith(f"{place / STATE} is damaged or of another version")
    assert f"--init {place / 'last.pt'}" in str(fault.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_state_cut_short_is_refused(saved, share):
    data = (saved / STATE).read_bytes()
    (saved / STATE).write_bytes(data[: int(share * len(data))])
    refused(saved)


def test_a_state_with_other_bytes_is_refused(saved):
    data = bytearray((saved / STATE).read_bytes())
    data[: len(data) // 4] = bytes(len(data) // 4)
    (saved / STATE).write_bytes(bytes(data))
    refused(saved)


@pytest.mark.parametrize(
    "content",
    [
        {"format_version": FORMAT_VERSION + 1, "config": {}},
        {"format_version": FORMAT_VERSION},
        {"format_version": FORMAT_VERSION, "config": "small"},
        [1, 2],
        torch.zeros(3),
    ],
)
def test_a_state_of_another_kind_is_refused(tmp_path, content):
    torch.save(content, tmp_path / STATE)
    refused(tmp_path)


def test_code_in_a_state_is_not_run(tmp_path):
    class Bad:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "hacked",))

    torch.save({"format_version": FORMAT_VERSION, "config": {}, "model": Bad()}, tmp_path / STATE)
    refused(tmp_path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"model": {}},
        {"model": None},
        {"average": {"a": torch.zeros(1)}},
        {"optimiser": {}},
        {"optimiser": [1]},
        {"step": None},
        {"elapsed_s": None},
    ],
)
def test_a_state_that_does_not_fit_its_network_is_refused(saved, change):
    state = read_state(saved)
    refused(saved, {name: value for name, value in {**state, **change}.items() if value is not None})


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_keeps_the_state_there_was(saved, monkeypatch, number):
    before = (saved / STATE).read_bytes()

    def failing(content: object, file: object) -> None:
        file.write(b"half of it")
        raise OSError(number, "no more")

    monkeypatch.setattr(checkpoint.torch, "save", failing)
    with pytest.raises(InputError, match=re.escape(str(saved / STATE))):
        a_run().save(saved)
    assert (saved / STATE).read_bytes() == before
    assert [path.name for path in saved.iterdir()] == [STATE]


def test_a_disk_that_is_full_in_the_middle_keeps_the_state_there_was(saved):
    resource = pytest.importorskip("resource", reason="this system cannot limit the size of a file")
    before = (saved / STATE).read_bytes()
    run = a_run()
    run.advance([patch()], 0.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(InputError, match=re.escape(str(saved / STATE))):
            run.save(saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (saved / STATE).read_bytes() == before
    assert [path.name for path in saved.iterdir()] == [STATE]
    run.save(saved)
    assert read_state(saved)["step"] == 1
