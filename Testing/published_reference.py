"""Published reference: DABSeg as released, restated plainly; the obvious truth for tests and benchmarks.

Nothing here is grouped, stacked or fused: every modality has its own modules and takes its own turn in a
loop, and the oddities of the release are kept on purpose, each named where it happens. Weight names and
shapes are those of the published checkpoints: 908 entries, of which 852 are parameters (82,293,823 numbers).

Input sizes must be multiples of 32.

    network = PublishedNetwork().eval()
    logits, restored = network(torch.rand(1, 4, 64, 64, 64))
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from DABSegCore.labels import MODALITIES, REGIONS

Grid = tuple[int, int, int]

WIDTH = 32
"""Channels of one modality in the first stage; doubled in each next one."""
HEADS = (2, 4, 8)
BOTTLENECK_HEADS = 16
BLOCKS = 2
"""Blocks in a stage: the first in aligned windows, the second in windows shifted by half."""
WINDOW = 7
DROP_PATH = 0.1
PARTNER = {"t1": "t1ce", "t1ce": "t1", "t2": "flair", "flair": "t2"}
PAIR = {"t1": "1", "t1ce": "1", "t2": "2", "flair": "2"}
"""Which of the two cross attentions serves a modality; partners share one, in both directions."""


def named(**children: nn.Module) -> nn.Sequential:
    """A sequence whose steps carry names, and so give the weights theirs."""
    return nn.Sequential(OrderedDict(children))


def conv_unit(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Bias-free convolution and group norm (two groups); the caller decides on an activation."""
    conv = nn.Conv3d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return named(conv=conv, norm=nn.GroupNorm(2, channels_out))


class Deblurring(nn.Module):
    """The deblurring stem FDMDS (eqs. 2-5): three convolutions, plus the input, then a leaky ReLU."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        channels = len(MODALITIES)
        for i, channels_in in enumerate((channels, hidden), start=1):
            conv = nn.Conv3d(channels_in, hidden, 3, padding=1, bias=False)
            self.add_module(f"conv{i}", named(conv=conv, norm=nn.InstanceNorm3d(hidden, affine=True)))
        self.conv3 = nn.Conv3d(hidden, channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, a=0.01, mode="fan_out", nonlinearity="leaky_relu")
        nn.init.zeros_(self.conv3.bias)

    def forward(self, corrupted: Tensor) -> Tensor:
        """Restored volume [B, M, D, H, W] of a corrupted one."""
        hidden = F.leaky_relu(self.conv1(corrupted), 0.01)
        hidden = F.leaky_relu(self.conv2(hidden), 0.01)
        return F.leaky_relu(self.conv3(hidden) + corrupted, 0.01)


class ModalityStem(nn.Module):
    """One modality into tokens at a quarter of the resolution, with a skip at half of it."""

    def __init__(self) -> None:
        super().__init__()
        half = WIDTH // 2
        self.proj = nn.Module()
        self.proj.conv1 = nn.Module()
        self.proj.conv1.conv1 = conv_unit(1, half, 3, stride=2)
        self.proj.conv1.conv2 = conv_unit(half, half, 3)
        self.proj.conv1.residual = conv_unit(1, half, 3, stride=2)
        self.proj.conv2 = nn.Conv3d(half, WIDTH, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 1, D, H, W] -> skip [B, 16, D/2, H/2, W/2] and tokens [B, D/4, H/4, W/4, 32]."""
        block = self.proj.conv1
        main = block.conv2(block.conv1(x).relu()).relu()
        skip = main + block.residual(x).relu()  # no activation after the sum
        tokens = self.proj.conv2(skip).movedim(1, -1)
        return skip, self.norm(tokens)


def fit_window(grid: Grid, shifted: bool) -> tuple[Grid, Grid]:
    """Window and shift for a grid: an axis no longer than the window is one window and is not shifted."""
    window = tuple(min(WINDOW, size) for size in grid)
    shift = tuple(WINDOW // 2 if shifted and size > WINDOW else 0 for size in grid)
    return window, shift


def partition(x: Tensor, window: Grid) -> Tensor:
    """[B, D, H, W, C], each axis a whole number of windows, -> [B * windows, N, C]."""
    batch, channels = x.shape[0], x.shape[-1]
    for axis, size in zip((1, 3, 5), window, strict=True):
        x = x.unflatten(axis, (-1, size))  # ... -> (count, size) in place
    x = x.permute(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(batch * x.shape[1] * x.shape[2] * x.shape[3], -1, channels)


def to_windows(x: Tensor, window: Grid, shift: Grid) -> Tensor:
    """Pad with zeros to whole windows, roll by the shift, cut: [B, D, H, W, C] -> [B * windows, N, C].

    The zeros enter after the layer norm and are not masked: as keys and values they become the bare biases of
    the linear layers and take their share of every softmax (81 % of the third stage's tokens at 128^3).
    """
    pads = [-size % step for size, step in zip(x.shape[1:4], window, strict=True)]
    x = F.pad(x, (0, 0, 0, pads[2], 0, pads[1], 0, pads[0]))
    x = torch.roll(x, [-step for step in shift], dims=(1, 2, 3))
    return partition(x, window)


def from_windows(windows: Tensor, grid: Grid, window: Grid, shift: Grid) -> Tensor:
    """Undo `to_windows`: [B * windows, N, C] -> [B, D, H, W, C]."""
    counts = [-(-size // step) for size, step in zip(grid, window, strict=True)]
    x = windows.reshape(-1, *counts, *window, windows.shape[-1]).permute(0, 1, 4, 2, 5, 3, 6, 7)
    for axis in (1, 2, 3):
        x = x.flatten(axis, axis + 1)
    x = torch.roll(x, shift, dims=(1, 2, 3))
    return x[:, : grid[0], : grid[1], : grid[2]]


@lru_cache(maxsize=32)
def shift_mask(grid: Grid, window: Grid, shift: Grid, device: torch.device) -> Tensor | None:
    """-100 between voxels that only the roll made neighbours, else 0 [windows, N, N]; None without shift."""
    if not any(shift):
        return None
    region = torch.zeros(1, 1, 1, device=device)
    for axis, (size, step, roll) in enumerate(zip(grid, window, shift, strict=True)):
        padded = size + -size % step
        position = torch.arange(padded, device=device)
        part = (position >= padded - step).float() + (position >= padded - roll).float()  # 0, 1 or 2
        region = 3 * region + part.view([-1 if i == axis else 1 for i in range(3)])
    region = partition(region[None, ..., None], window).squeeze(-1)  # [windows, N]
    return -100.0 * (region[:, None, :] != region[:, :, None]).float()


class Attention(nn.Module):
    """What self and cross attention share: the position bias and the softmax."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        table = torch.empty((2 * WINDOW - 1) ** 3, heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        axis = torch.arange(WINDOW)
        offset = axis[:, None] - axis[None, :] + WINDOW - 1  # [query, key], from 0
        index = torch.zeros(1, 1, dtype=torch.long)
        for _ in range(3):
            index = index[:, None, :, None] * (2 * WINDOW - 1) + offset[None, :, None, :]
            index = index.flatten(2, 3).flatten(0, 1)
        self.register_buffer("relative_position_index", index)
        self.proj = nn.Linear(channels, channels)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Softmax attention inside windows, all [B * windows, N, C]; mask [windows, N, N]."""
        tokens, channels = query.shape[1:]
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        scores = query @ key.transpose(-2, -1)  # [B * windows, heads, N, N]
        scores = scores * (channels // self.heads) ** -0.5
        # A window cut short by the grid (the bottleneck's 4^3) takes the first rows of the index of a 7^3
        # window, so its offsets land on the wrong rows of the table; trained weights rely on it.
        index = self.relative_position_index[:tokens, :tokens]
        scores = scores + self.relative_position_bias_table[index].permute(2, 0, 1)
        if mask is not None:
            scores = (scores.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
        mixed = scores.softmax(dim=-1) @ value
        return self.proj(mixed.transpose(1, 2).flatten(2))


class SelfAttention(Attention):
    """Each token asks its own window."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels, heads)
        self.qkv = nn.Linear(channels, 3 * channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """[B * windows, N, C] -> the same shape."""
        return self.attend(*self.qkv(x).chunk(3, dim=-1), mask)


class CrossAttention(Attention):
    """Each token asks the same window of the partner modality."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels, heads)
        for role in ("query", "key", "value"):
            self.add_module(role, nn.Linear(channels, channels))

    def forward(self, x: Tensor, partner: Tensor, mask: Tensor | None) -> Tensor:
        """Two of [B * windows, N, C] -> the same shape."""
        return self.attend(self.query(x), self.key(partner), self.value(partner), mask)


class MBConv(nn.Module):
    """The feed-forward part: expand, depthwise convolution, squeeze and excite, contract."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 4 * channels
        self.expand_proj = conv_unit(channels, wide, 1)
        self.depthwise = conv_unit(wide, wide, 3, groups=wide)
        gate = nn.Sequential(nn.Conv3d(wide, channels, 1), nn.ReLU(), nn.Conv3d(channels, wide, 1), nn.Sigmoid())
        self.se = named(excitation=gate)
        self.pointwise = conv_unit(wide, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, H, W, C] -> the same shape."""
        x = self.expand_proj(x.movedim(-1, 1)).relu()
        x = self.depthwise(x).relu()
        x = x * self.se(x.mean((2, 3, 4), keepdim=True))
        return self.pointwise(x).movedim(1, -1)


class StageBlock(nn.ModuleDict):
    """One block of a stage: attention and feed-forward for each modality, with a residual around either.

    Every block owns two cross attentions, but only the last of a stage runs them: the rest is dead weight.
    """

    def __init__(self, channels: int, heads: int, cross: bool, shifted: bool, drop: float) -> None:
        super().__init__()
        self.cross, self.shifted, self.drop = cross, shifted, drop
        for m in MODALITIES:
            self[f"norm_{m}_1"] = nn.LayerNorm(channels)
            self[f"self_attn_{m}"] = SelfAttention(channels, heads)
            self[f"norm_{m}_2"] = nn.LayerNorm(channels)
            self[f"mlp_{m}"] = MBConv(channels)
        for pair in ("1", "2"):
            self[f"cross_attn_{pair}"] = CrossAttention(channels, heads)

    def drop_path(self, x: Tensor) -> Tensor:
        """Leave a residual branch out for whole samples at random, in training only (stochastic depth)."""
        if not self.training or self.drop == 0:
            return x
        keep = torch.rand(len(x), 1, 1, 1, 1, device=x.device) >= self.drop
        return x * keep / (1 - self.drop)

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tokens of each modality [B, D, H, W, C] -> the same."""
        grid = tuple(x["t1"].shape[1:4])
        window, shift = fit_window(grid, self.shifted)
        mask = shift_mask(grid, window, shift, x["t1"].device)
        windows = {m: to_windows(self[f"norm_{m}_1"](x[m]), window, shift) for m in MODALITIES}
        out = {}
        for m in MODALITIES:
            mixed = self[f"self_attn_{m}"](windows[m], mask)
            if self.cross:
                mixed = mixed + self[f"cross_attn_{PAIR[m]}"](windows[m], windows[PARTNER[m]], mask)
            y = x[m] + self.drop_path(from_windows(mixed, grid, window, shift))
            out[m] = y + self.drop_path(self[f"mlp_{m}"](self[f"norm_{m}_2"](y)))
        return out


class Downsample(nn.Module):
    """Half the grid, twice the channels; the four modalities share it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.reduction = nn.Conv3d(channels, 2 * channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, H, W, C] -> [B, D/2, H/2, W/2, 2C]."""
        x = self.norm(F.gelu(x))
        return self.reduction(x.movedim(-1, 1)).movedim(1, -1)


class Stage(nn.Module):
    """Two blocks, then the step down."""

    def __init__(self, channels: int, heads: int, drops: list[float]) -> None:
        super().__init__()
        last = len(drops) - 1
        self.blocks = nn.ModuleList(
            StageBlock(channels, heads, cross=i == last, shifted=i % 2 == 1, drop=drop) for i, drop in enumerate(drops)
        )
        self.downsample = Downsample(channels)

    def forward(self, x: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Tokens -> skip [B, 4C, D, H, W], taken before the step down, and the next stage's tokens."""
        for block in self.blocks:
            x = block(x)
        skip = torch.cat([x[m] for m in MODALITIES], dim=-1).movedim(-1, 1)
        return skip, {m: self.downsample(x[m]) for m in MODALITIES}


class BottleneckBlock(nn.Module):
    """Self attention over all modalities at once, as channels of one token."""

    def __init__(self, channels: int, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.norm_1 = nn.LayerNorm(channels)
        self.self_attn_x = SelfAttention(channels, BOTTLENECK_HEADS)
        self.norm_2 = nn.LayerNorm(channels)
        self.mlp = MBConv(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, H, W, C] -> the same shape."""
        grid = tuple(x.shape[1:4])
        window, shift = fit_window(grid, self.shifted)
        mask = shift_mask(grid, window, shift, x.device)
        mixed = self.self_attn_x(to_windows(self.norm_1(x), window, shift), mask)
        x = x + from_windows(mixed, grid, window, shift)
        return x + self.mlp(self.norm_2(x))


class Encoder(nn.Module):
    """Four modality stems, three stages, bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        for m in MODALITIES:
            self.add_module(f"patch_embed_{m}", ModalityStem())
        drops = torch.linspace(0, DROP_PATH, len(HEADS) * BLOCKS, device="cpu").view(len(HEADS), BLOCKS).tolist()
        self.layers = nn.ModuleList(Stage(WIDTH * 2**i, heads, drops[i]) for i, heads in enumerate(HEADS))
        channels = len(MODALITIES) * WIDTH * 2 ** len(HEADS)
        self.bottleneck = nn.ModuleList(BottleneckBlock(channels, shifted) for shifted in (False, True))
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """[B, M, D, H, W] -> five feature maps, channels first, at 1/2, 1/4 ... 1/32 of the size."""
        first, tokens = [], {}
        for i, m in enumerate(MODALITIES):
            skip, tokens[m] = getattr(self, f"patch_embed_{m}")(image[:, i : i + 1])
            first.append(skip)
        features = [torch.cat(first, dim=1)]
        for stage in self.layers:
            skip, tokens = stage(tokens)
            features.append(skip)
        x = torch.cat([tokens[m] for m in MODALITIES], dim=-1)
        for block in self.bottleneck:
            x = block(x)
        return [*features, self.norm(x).movedim(-1, 1)]


class CoordinateGate(nn.Module):
    """Coordinate attention: a skip scaled along each axis by what it and the decoder show there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        slim = channels // 4
        for i in ("1", "2"):  # 1 looks at the decoder, 2 at the skip
            self.add_module(f"conv{i}", nn.Conv3d(channels, slim, 1))
            self.add_module(f"bn{i}", nn.BatchNorm3d(slim))
        for axis in "dhw":
            self.add_module(f"conv_{axis}", nn.Conv3d(slim, channels, 1))

    def forward(self, guide: Tensor, skip: Tensor) -> Tensor:
        """Both [B, C, D, H, W] -> gated skip."""
        grid = skip.shape[2:]
        profile = (self.bn1(self.conv1(axis_means(guide))).relu() + self.bn2(self.conv2(axis_means(skip))).relu()) / 2
        gated = skip
        for axis, part in enumerate(profile.split(list(grid), dim=2)):
            gate = getattr(self, f"conv_{'dhw'[axis]}")(part).sigmoid()  # [B, C, L, 1, 1]
            gated = gated * gate.movedim(2, 2 + axis)
        return gated


def axis_means(x: Tensor) -> Tensor:
    """Mean profile along each axis, one after the other: [B, C, D, H, W] -> [B, C, D + H + W, 1, 1]."""
    profiles = [x.mean(others) for others in ((3, 4), (2, 4), (2, 3))]
    return torch.cat(profiles, dim=2)[..., None, None]


def conv_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Convolution with bias, group norm, ReLU, under the names of the release."""
    conv = named(block=nn.Conv3d(channels_in, channels_out, 3, padding=1))
    return named(block=nn.Sequential(conv, nn.GroupNorm(2, channels_out), nn.ReLU()))


def upsample(channels_in: int, channels_out: int) -> nn.Sequential:
    """Twice the grid by a transposed convolution."""
    return named(block=nn.ConvTranspose3d(channels_in, channels_out, 2, stride=2))


class Decoder(nn.Module):
    """From the bottleneck back to full size, one skip at a time."""

    def __init__(self, channels: int = 32 * WIDTH) -> None:
        super().__init__()
        self.decoder5_upsampler = upsample(channels, channels // 2)
        for level in (4, 3, 2, 1):
            wide, slim = channels >> (4 - level), channels >> (5 - level)
            steps = (conv_block(wide, slim), conv_block(slim, slim), upsample(slim, slim // 2))
            self.add_module(f"decoder{level}_upsampler", nn.Sequential(*steps))
            if level > 1:
                self.add_module(f"cca{level}", CoordinateGate(slim))
        self.decoder_0 = nn.Sequential(conv_block(len(MODALITIES), 16), conv_block(16, WIDTH))
        head = named(block=nn.Conv3d(WIDTH, len(REGIONS), 1))
        self.seg_head = nn.Sequential(conv_block(2 * WIDTH, WIDTH), conv_block(WIDTH, WIDTH), head)

    def forward(self, image: Tensor, features: list[Tensor]) -> Tensor:
        """Full-size image and the encoder's five maps -> logits [B, R, D, H, W]."""
        x = self.decoder5_upsampler(features[-1])
        for level in (4, 3, 2, 1):
            skip = features[level - 1]
            if level > 1:
                skip = getattr(self, f"cca{level}")(x, skip)
            x = getattr(self, f"decoder{level}_upsampler")(torch.cat([skip, x], dim=1))
        return self.seg_head(torch.cat([self.decoder_0(image), x], dim=1))


class PublishedNetwork(nn.Module):
    """The whole published network: deblurring stem (`fdmds`), then the segmentation trunk (`dami`)."""

    def __init__(self) -> None:
        super().__init__()
        self.fdmds = Deblurring()
        self.dami = nn.ModuleDict({"encoder": Encoder(), "decoder": Decoder()})

    def forward(self, corrupted: Tensor) -> tuple[Tensor, Tensor]:
        """Segment and restore.

        Args:
            corrupted: Intensities in [0, 1], modalities as in `MODALITIES` [B, M, D, H, W]; sizes are
                multiples of 32.

        Returns:
            Logits [B, R, D, H, W] (regions as in `REGIONS`) and the restored volume [B, M, D, H, W].
        """
        restored = self.fdmds(corrupted)
        logits = self.dami["decoder"](restored, self.dami["encoder"](restored))
        return logits, restored


def randomise(network: nn.Module, seed: int) -> nn.Module:
    """Make every weight matter: noise on norms, biases, position tables and running statistics, in place.

    Args:
        network: Any network; its scales stay near where they were, so signals neither vanish nor explode.
        seed: Of the generator that draws the noise.

    Returns:
        The same network.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in network.state_dict().items():
            if not x.is_floating_point():
                continue
            noise = torch.randn(x.shape, generator=generator)
            if name.endswith("running_var"):
                x.copy_(0.5 + noise.abs())
            elif name.endswith("relative_position_bias_table"):
                x.copy_(noise)
            elif x.ndim == 1:
                x.add_(0.3 * noise)
            else:  # LeCun scale
                x.copy_(noise * x[0].numel() ** -0.5)
    return network
