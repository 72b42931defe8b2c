"""Replay: what is recorded when, and what happens where it cannot be. CUDA itself is a stand-in: no GPU was at hand."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from DABSegCore import inference, replay
from DABSegCore.config import BASE, PAPER, SMALL, ModelConfig
from DABSegCore.inference import Plan
from DABSegCore.losses import Objective, joint_loss
from DABSegCore.models import build_model
from DABSegCore.replay import forget, recorded

GPU = torch.device("cuda:0")


class StandIn:
    """Plays a forward by calling it, into the tensors of the first answer, as a CUDA graph would."""

    made = 0

    def __init__(self, forward: replay.Forward, example: Tensor) -> None:
        StandIn.made += 1
        self._forward, self._answer = forward, forward(example.clone())

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        for name, value in self._forward(x).items():
            self._answer[name].copy_(value)
        return self._answer


@pytest.fixture(autouse=True)
def a_stand_in_for_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "Replay", StandIn)
    StandIn.made = 0


def doubled(x: Tensor) -> dict[str, Tensor]:
    return {"twice": 2 * x}


def test_a_size_is_recorded_once_and_another_replaces_it() -> None:
    model, small, large = nn.Linear(2, 2), torch.ones(1, 2), torch.ones(3, 2)
    for example, made in ((small, 1), (small, 1), (large, 2), (large, 2), (small, 3)):
        play = recorded(model, doubled, example, ("float32",), print)
        assert torch.equal(play(5 * example)["twice"], 10 * example)
        assert StandIn.made == made


def test_other_words_other_weights_and_forgetting_record_anew() -> None:
    model, x = nn.Linear(2, 2), torch.ones(1, 2)
    recorded(model, doubled, x, ("float32",), print)
    recorded(model, doubled, x, ("bfloat16",), print)
    model.weight = nn.Parameter(torch.zeros(2, 2))  # elsewhere in memory: a record would read the old place
    recorded(model, doubled, x, ("bfloat16",), print)
    forget(model)
    recorded(model, doubled, x, ("bfloat16",), print)
    assert StandIn.made == 4


def test_records_go_with_their_network() -> None:
    model = nn.Linear(2, 2)
    recorded(model, doubled, torch.ones(1, 2), (), print)
    before = len(replay._KEPT)
    del model
    gc.collect()
    assert len(replay._KEPT) == before - 1


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(forward: replay.Forward, example: Tensor) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(replay, "Replay", refuses)
    said: list[str] = []
    assert recorded(nn.Linear(2, 2), doubled, torch.ones(1, 2), (), said.append) is doubled
    (sentence,) = said
    assert "cannot be recorded on this GPU (operation not permitted when stream is capturing)" in sentence


def test_memory_that_runs_out_while_recording_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(forward: replay.Forward, example: Tensor) -> None:
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr(replay, "Replay", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        recorded(nn.Linear(2, 2), doubled, torch.ones(1, 2), (), print)


def test_a_record_that_says_something_else_is_not_played(monkeypatch: pytest.MonkeyPatch) -> None:
    class Drifts(StandIn):
        def __call__(self, x: Tensor) -> dict[str, Tensor]:
            return {"twice": 2 * x + 0.01}

    monkeypatch.setattr(replay, "Replay", Drifts)
    said: list[str] = []
    assert recorded(nn.Linear(2, 2), doubled, torch.ones(1, 2), (), said.append) is doubled
    assert "differs from the plain one" in said[0]


@pytest.mark.parametrize(
    ("device", "jobs", "batch", "views", "steady", "records"),
    [
        ("cuda:0", 8, 1, 1, True, True),
        ("cuda:0", 64, 8, 8, True, True),
        ("cuda:0", 1, 1, 1, True, False),  # the whole volume: seen once
        ("cuda:0", 8, 8, 8, True, False),  # eight mirror images at once: seen once
        ("cuda:0", 100, 8, 4, True, False),  # the rest of the windows
        ("cuda:0", 8, 1, 1, False, False),  # a network that draws by chance
        ("cpu", 8, 1, 1, True, False),
    ],
)
def test_forwards_are_recorded_where_several_of_a_size_follow_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, jobs: int, batch: int, views: int, steady: bool, records: bool
) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(inference, "recorded", lambda *words: asked.append(words))
    model = nn.Identity()
    model.steady = steady
    place = torch.device(device)
    inference._player(model, Plan(place, 8, batch, place), torch.zeros(views, 4, 8, 8, 8), jobs, None, print)
    assert bool(asked) == records


class WhatAsksTheCpu(TorchDispatchMode):
    """Notes operations that bring Python's numbers to a device or a device's numbers to Python: each empties the queue
    of a GPU, and none can be recorded."""

    WORDS = ("lift_fresh", "_local_scalar_dense", "nonzero", "is_nonzero", "masked_select")

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(word in func.name() for word in self.WORDS):
            self.noted.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("config", [PAPER, BASE, SMALL], ids=lambda config: config.preset)
def test_a_forward_asks_nothing_of_the_cpu(config: ModelConfig) -> None:
    model, x = build_model(config).eval(), torch.rand(1, 4, 32, 64, 32)
    with torch.inference_mode():
        model(x)  # makes the tables of windows
        with WhatAsksTheCpu() as mode:
            model(x)
    assert mode.noted == []


def test_what_asks_the_cpu_would_be_noted() -> None:
    with WhatAsksTheCpu() as mode:
        torch.ones(2, 2)[:, [1, 0]]
        torch.ones(1).item()
    assert mode.noted == ["aten::lift_fresh", "aten::_local_scalar_dense"]


@pytest.mark.parametrize("config", [PAPER, BASE], ids=lambda config: config.preset)
def test_a_training_step_asks_nothing_of_the_cpu_before_its_last_question(config: ModelConfig) -> None:
    model, x = build_model(config).train(), torch.rand(2, 4, 32, 32, 32)
    target = (torch.rand(2, 3, 32, 32, 32) > 0.9).float()

    def loss_and_gradient() -> None:
        loss, _ = joint_loss(model(x), target, x, x[:, :1], Objective())
        loss.backward()

    loss_and_gradient()
    with WhatAsksTheCpu() as mode:
        loss_and_gradient()
    assert mode.noted == []
