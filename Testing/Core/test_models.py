"""The network: sizes and costs of the presets, and every grouped layer against its slow, one-stream-at-a-time form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from DABSegCore.config import BASE, BOUNDS, PAPER, PRESETS, SMALL, ModelConfig
from DABSegCore.devices import PROBES
from DABSegCore.models import build_model, windows
from DABSegCore.models.attention import PairAttention, SelfAttention
from DABSegCore.models.blocks import (
    Conv3d,
    MBConv,
    StreamNorm,
    depth_to_space,
    drop_path,
    grouped_product,
    space_to_depth,
)
from DABSegCore.models.windows import APART, Windows, relative_index


def gflop(config: ModelConfig) -> float:
    model = build_model(config).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 4, 128, 128, 128, device="meta"))
    return counter.get_total_flops() / 1e9


def a_small_model(**changes) -> nn.Module:
    torch.manual_seed(0)
    config = ModelConfig(**{**SMALL.__dict__, **changes})
    return build_model(config).eval()


def test_small_is_within_its_budget():
    parameters = sum(p.numel() for p in build_model(SMALL).parameters())
    assert 2 * parameters < 12e6  # bytes as float16
    assert gflop(SMALL) <= gflop(PAPER) / 12


def test_base_needs_less_than_half_the_arithmetic_of_paper():
    assert gflop(BASE) < gflop(PAPER) / 2


@pytest.mark.parametrize("size", [(33, 20, 47), (32, 64, 32), (1, 5, 7)])
def test_any_size_and_batch_comes_back_as_it_went_in(size):
    prediction = a_small_model()(torch.rand(2, 4, *size))
    assert prediction.logits.shape == (2, 3, *size)
    assert prediction.restored.shape == (2, 4, *size)
    assert prediction.deep == ()


def test_a_batch_is_treated_as_its_cases_one_by_one():
    model = a_small_model()
    x = torch.rand(2, 4, 40, 36, 32)
    both, alone = model(x), model(x[1:])
    torch.testing.assert_close(both.logits[1:], alone.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_an_untrained_stem_changes_nothing(preset):
    torch.manual_seed(0)
    stem = build_model(PRESETS[preset]).stem.eval()
    x = torch.rand(1, 4, 32, 32, 32)
    assert torch.equal(stem(x), x)


def test_the_stem_leaves_the_outside_of_the_brain_at_zero():
    stem = a_small_model().stem
    nn.init.normal_(stem.unfold.weight)
    nn.init.normal_(stem.unfold.bias)
    x = torch.rand(1, 4, 32, 32, 32)
    x[..., :10] = 0
    restored = stem(x)
    assert torch.equal(restored[..., :10], x[..., :10])
    assert not torch.allclose(restored[..., 10:], x[..., 10:])


def test_training_gives_deeper_predictions_and_every_parameter_a_gradient():
    model = a_small_model().train()
    nn.init.normal_(model.stem.unfold.weight, std=0.01)
    prediction = model(torch.rand(1, 4, 64, 64, 64))
    assert [d.shape[2] for d in prediction.deep] == [8, 16]
    sum(t.square().mean() for t in (prediction.logits, prediction.restored, *prediction.deep)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("rule", ["fit", "published"])
def test_a_network_can_be_trained_after_it_was_used(rule):
    """What windows remember must not be tied to the mode in which it was first needed."""
    windows.TABLES.clear()
    model = a_small_model(depths=(2, 1, 1), window_rule=rule)
    x = torch.rand(1, 4, 36, 32, 32)  # shifted windows, and padding to mask
    with torch.inference_mode():
        model(x)
    assert {"mask", "index"} == {key[0] for key, table in windows.TABLES.items() if table is not None}
    model.train()(x).logits.square().mean().backward()
    assert model.encoder.stages[0].blocks[1].attention.bias.table.grad.abs().sum() > 0


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"expected \[B, 4, D, H, W\], got \[1, 3, 8, 8, 8\]"):
        a_small_model()(torch.rand(1, 3, 8, 8, 8))


def test_folding_is_undone_and_gathers_cubes():
    x = torch.arange(2 * 3 * 4 * 6 * 8.0).reshape(2, 3, 4, 6, 8)
    folded = space_to_depth(x)
    assert torch.equal(depth_to_space(folded), x)
    assert torch.equal(folded[0, 8:16, 1, 2, 3], x[0, 1, 2:4, 4:6, 6:8].flatten())


def test_stream_norm_is_one_layer_norm_per_stream():
    norm = StreamNorm(5, streams=3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 15, 3, 4, 2)
    for m in range(3):
        plain = nn.functional.layer_norm(x[:, 5 * m : 5 * m + 5].movedim(1, -1), (5,), norm.weight[m], norm.bias[m])
        torch.testing.assert_close(norm(x)[:, 5 * m : 5 * m + 5], plain.movedim(-1, 1))


@pytest.mark.parametrize("fused", [True, False])
def test_streams_do_not_leak_into_each_other(fused):
    """Changing one stream's input changes that stream's output only."""
    torch.manual_seed(0)
    block = MBConv(4, 2, streams=3, fused=fused)
    x = torch.randn(1, 12, 4, 4, 4)
    other = x.clone()
    other[:, 4:8] += 1
    changed = (block(x) - block(other)).abs().amax(dim=(0, 2, 3, 4)).reshape(3, 4).amax(1) > 1e-6
    assert changed.tolist() == [False, True, False]


def test_drop_path_keeps_the_mean_and_drops_whole_streams():
    torch.manual_seed(0)
    x = torch.ones(4000, 8, 1, 1, 1)
    dropped = drop_path(x, 2, 0.25, training=True)
    assert dropped.mean() == pytest.approx(1, abs=0.03)
    per_stream = dropped.reshape(4000, 2, 4)
    assert torch.equal(per_stream.amin(2), per_stream.amax(2))
    assert drop_path(x, 2, 0.25, training=False) is x


@pytest.mark.parametrize(
    ("rule", "grid", "window", "padded"),
    [
        ("fit", (32, 12, 6), (4, 4, 3), (32, 12, 6)),
        ("fit", (10, 4, 1), (4, 4, 1), (12, 4, 1)),
        ("published", (32, 8, 4), (4, 4, 4), (32, 8, 4)),
        ("published", (10, 3, 5), (4, 3, 4), (12, 3, 8)),
    ],
)
def test_windows_cut_a_grid(rule, grid, window, padded):
    windows = Windows.cut(grid, 4, shifted=True, rule=rule)
    assert (windows.window, windows.padded) == (window, padded)
    assert windows.shift == tuple(w // 2 if n > w else 0 for n, w in zip(grid, window, strict=True))


@pytest.mark.parametrize("shifted", [True, False])
def test_joining_undoes_splitting(shifted):
    windows = Windows.cut((10, 7, 3), 4, shifted, "fit")
    x = torch.randn(2, 5, 10, 7, 3)
    assert torch.equal(windows.join(windows.split(windows.lay_out(x))[0]), x)


@pytest.mark.parametrize("rule", ["fit", "published"])
def test_tokens_see_each_other_only_if_they_were_neighbours_before_the_roll(rule):
    """Brute force: carry each token's coordinate into its window and ask which pairs are truly close."""
    grid = (10, 6, 3)
    windows = Windows.cut(grid, 4, shifted=True, rule=rule)
    axes = torch.meshgrid(*(torch.arange(float(n)) for n in windows.padded), indexing="ij")
    rolled = [torch.roll(a, [-shift for shift in windows.shift], dims=(0, 1, 2)) for a in axes]
    place = windows.split(torch.stack(rolled)[None])[0, :, 0]  # [windows, N, 3]
    mask = windows.mask(torch.device("cpu"))
    n = place.shape[1]
    for w, a, b in itertools.product(range(len(place)), range(n), range(n)):
        near = all(abs(place[w, a, i] - place[w, b, i]) < windows.window[i] for i in range(3))
        real = [all(place[w, t, i] < grid[i] for i in range(3)) for t in (a, b)]
        may = near and (rule == "published" or real[0] == real[1])
        if rule == "fit" and not any(real):
            continue  # padding among padding: nobody reads it
        assert (mask[w, 0, a, b] == 0) == may
        assert mask[w, 0, a, b] in (0, APART)


def test_relative_index_is_one_row_per_offset():
    window = (2, 3, 1)
    index = relative_index(window, 4, "fit", "cpu").reshape(6, 6)
    tokens = list(itertools.product(*(range(w) for w in window)))
    rows = {}
    for (a, p), (b, q) in itertools.product(enumerate(tokens), enumerate(tokens)):
        rows.setdefault(tuple(x - y for x, y in zip(p, q, strict=True)), set()).add(int(index[a, b]))
    assert all(len(found) == 1 for found in rows.values())
    assert len(set().union(*rows.values())) == len(rows)


def test_cross_modal_attention_is_equation_9_inside_a_window():
    """Y_m = sum over m' of softmax(Q_m K_m'^T / sqrt(d)) V_m', written out with loops."""
    torch.manual_seed(0)
    channels, heads, streams, side = 6, 2, 3, 2
    attention = SelfAttention(channels, heads, streams, side, "fit", across=True).eval()
    x = torch.randn(1, streams * channels, side, side, side)
    qkv = attention.qkv(x).reshape(streams, 3, heads, channels // heads, side**3).transpose(-1, -2)  # [M, 3, h, N, d]
    index = relative_index((side,) * 3, side, "fit", "cpu")
    bias = attention.bias.table[index].T.reshape(streams, streams, heads, side**3, side**3)
    mixed = torch.zeros(streams, heads, side**3, channels // heads)
    for m, other, h in itertools.product(range(streams), range(streams), range(heads)):
        score = qkv[m, 0, h] @ qkv[other, 1, h].T / math.sqrt(channels // heads) + bias[m, other, h]
        mixed[m, h] += score.softmax(-1) @ qkv[other, 2, h]
    expected = attention.proj(mixed.transpose(2, 3).reshape(1, -1, side, side, side))
    windows = Windows.cut((side,) * 3, side, shifted=False, rule="fit")
    torch.testing.assert_close(attention(x, windows), expected)


def test_padding_takes_no_attention_under_the_fit_rule():
    """A 5-token axis in windows of 3 pads one token; real tokens must not notice what is in it."""
    torch.manual_seed(0)
    attention = SelfAttention(4, 1, 1, 3, "fit")
    x = torch.randn(1, 4, 5, 3, 3)
    windows = Windows.cut((5, 3, 3), 3, shifted=False, rule="fit")
    assert windows.padded == (6, 3, 3)
    laid_out = windows.lay_out(x)
    second = attention.qkv(x)[:, :, 3:]  # the last two planes form the padded window
    q, k, v = second.flatten(2).transpose(1, 2).chunk(3, dim=-1)
    index = relative_index((3, 3, 3), 3, "fit", "cpu").reshape(27, 27)[:18, :18]
    score = q @ k.transpose(1, 2) / 2 + attention.bias.table[index.flatten()].reshape(18, 18)
    expected = attention.proj((score.softmax(-1) @ v).transpose(1, 2).reshape(1, 4, 2, 3, 3))
    torch.testing.assert_close(attention(laid_out, windows)[:, :, 3:], expected)


def test_a_configuration_survives_json():
    import dataclasses
    import json

    for config in PRESETS.values():
        assert ModelConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
    with pytest.raises(ValueError, match="unknown model setting 'colour'"):
        ModelConfig.from_dict({"colour": 1})


def test_a_configuration_that_cannot_work_is_refused():
    with pytest.raises(ValueError, match=r"must be the skips' \(512, 256, 128\)"):
        ModelConfig(decoder_dims=(256, 128, 64, 32))
    with pytest.raises(ValueError, match="pairs 4 modalities, got 3"):
        ModelConfig(modalities=3)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"embed_dim": "x"}, "embed_dim must be of type int, got 'x'"),
        ({"embed_dim": 10**7}, r"embed_dim must lie in \[4, 512\], got 10000000"),
        ({"embed_dim": 17}, "embed_dim must be even"),
        ({"window": 0}, "window must lie in"),
        ({"depths": (1, 1)}, r"depths must be 3 numbers, got \(1, 1\)"),
        ({"stem_blocks": 2}, "stem_blocks must be some numbers, got 2"),
        ({"stem_blocks": ()}, "needs 1 to 5 levels, got 0"),
        ({"heads": (1, 2, 5)}, "64 channels have 5 heads"),
        ({"decoder_dims": (16, 16, 16, 8.5)}, "decoder_dims must be of type int, got 8.5"),
        ({"drop_path": float("nan")}, "drop_path must lie in"),
        ({"fuse": 1}, "fuse must be of type bool"),
        ({"tail_width": True}, "tail_width must be of type int"),
        ({"stem": "weird"}, "stem must be one of fdmds, pyramid, none, got 'weird'"),
    ],
)
def test_every_setting_is_of_its_kind_and_within_bounds(changes, match):
    with pytest.raises(ValueError, match=match):
        ModelConfig(**{**SMALL.__dict__, **changes})


def test_every_number_has_bounds():
    assert BOUNDS.keys() == {name for name, value in PAPER.__dict__.items() if not isinstance(value, (str, bool))}


@pytest.mark.parametrize("config", PROBES, ids=["small", "paper"])
def test_a_network_compiles_as_one_graph_and_says_the_same(config):
    """`fullgraph` fails at the first thing the compiler cannot follow; the graph runs as it is and makes no tables."""
    torch.manual_seed(0)
    model, x = build_model(config).train(), torch.rand(2, 4, 32, 32, 32)
    graphs, said = [], []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    for network in (model, torch.compile(model, backend=keep, fullgraph=True, dynamic=False)):
        torch.manual_seed(1)  # for the paths that are dropped
        said.append(network(x))
    assert torch.equal(said[0].logits, said[1].logits)
    assert torch.equal(said[0].restored, said[1].restored)
    (graph,) = graphs
    assert not {torch.arange, torch.meshgrid} & {node.target for node in graph.graph.nodes}


def test_tables_of_windows_are_few(monkeypatch):
    monkeypatch.setattr(windows, "TABLES", {})
    for largest in range(1, windows.MOST_TABLES + 4):
        relative_index((1, 1, 1), largest, "fit", "cpu")
    assert [key[2] for key in windows.TABLES] == list(range(4, windows.MOST_TABLES + 4))


def test_streams_parts_and_heads_come_apart_as_channels_name_them():
    """Each channel's number says where it must be found: [parts, windows, streams * heads, tokens, d]."""
    streams, parts, heads, width = 2, 3, 2, 5
    windows = Windows.cut((4, 2, 2), 2, shifted=False, rule="fit")
    numbers = torch.arange(float(streams * parts * heads * width)).reshape(1, -1, 1, 1, 1)
    found = windows.split(numbers.expand(-1, -1, 4, 2, 2), streams, parts, heads)
    named = numbers.reshape(streams, parts, heads, width).transpose(0, 1).reshape(parts, 1, streams * heads, 1, width)
    assert torch.equal(found, named.expand(-1, 2, -1, 8, -1))


def test_cross_attention_of_pairs_reads_the_partner_alone():
    """T1 reads T1ce and back, T2 FLAIR and back, with one set of weights a pair; written out with loops."""
    torch.manual_seed(0)
    channels, heads, side = 4, 2, 2
    attention = PairAttention(channels, heads, side, "fit").eval()
    x = torch.randn(1, 4 * channels, side, side, side)
    index = relative_index((side,) * 3, side, "fit", "cpu")
    bias = attention.bias.table[index].T.reshape(2, heads, side**3, side**3)
    streams = x.reshape(4, channels, side**3).transpose(1, 2)  # [4, N, C]
    expected = []
    for m, partner in enumerate((1, 0, 3, 2)):
        pair = m // 2
        weight, shift = attention.qkv_weight[pair].T, attention.qkv_bias[pair]
        qkv = [streams[m] @ weight + shift, streams[partner] @ weight + shift]
        q, k, v = qkv[0][:, :channels], qkv[1][:, channels : 2 * channels], qkv[1][:, 2 * channels :]
        read = []
        for h in range(heads):
            part = slice(h * channels // heads, (h + 1) * channels // heads)
            score = q[:, part] @ k[:, part].T / math.sqrt(channels // heads) + bias[pair, h]
            read.append(score.softmax(-1) @ v[:, part])
        expected.append(torch.cat(read, 1) @ attention.proj_weight[pair].T + attention.proj_bias[pair])
    expected = torch.stack(expected).transpose(1, 2).reshape(1, -1, side, side, side)
    windows = Windows.cut((side,) * 3, side, shifted=False, rule="fit")
    torch.testing.assert_close(attention(x, windows), expected)


def test_a_small_convolution_on_a_cpu_says_what_pytorch_says_and_learns_the_same():
    torch.manual_seed(0)
    ours, theirs = Conv3d(6, 5, 3, padding=1, stride=2), torch.nn.Conv3d(6, 5, 3, padding=1, stride=2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 6, 9, 8, 7).contiguous(memory_format=torch.channels_last_3d)
    answers = [conv(x) for conv in (ours, theirs)]
    torch.testing.assert_close(*answers)
    for answer in answers:
        answer.square().sum().backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    if torch.backends.mkldnn.is_available():
        assert answers[0].is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("bias", [True, False])
def test_a_grouped_product_is_a_grouped_convolution(bias):
    torch.manual_seed(0)
    conv, x = torch.nn.Conv3d(12, 20, 1, groups=4, bias=bias), torch.randn(2, 12, 3, 4, 5)
    torch.testing.assert_close(grouped_product(x, conv.weight, conv.bias, 4), conv(x))
