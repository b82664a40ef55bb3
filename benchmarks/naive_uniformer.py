"""UniFormer in the plain layout, written for comparison: NCTHW tensors, convolutions, explicit softmax.

It shares the checkpoint keys of `uniformer_video` and none of its code, so tests use it as an
independent reference for outputs and gradients, and benchmarks as the baseline for speed.
"""

import torch
from torch import nn


class Mlp(nn.Module):
    def __init__(self, fc1, fc2):
        super().__init__()
        self.fc1, self.fc2 = fc1, fc2
        self.act = nn.GELU()

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class Local(nn.Module):
    def __init__(self, dim, kernel, ratio):
        super().__init__()
        self.pos_embed = nn.Conv3d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.BatchNorm3d(dim)
        self.conv1 = nn.Conv3d(dim, dim, 1)
        self.attn = nn.Conv3d(dim, dim, kernel, padding=[k // 2 for k in kernel], groups=dim)
        self.conv2 = nn.Conv3d(dim, dim, 1)
        self.norm2 = nn.BatchNorm3d(dim)
        self.mlp = Mlp(nn.Conv3d(dim, dim * ratio, 1), nn.Conv3d(dim * ratio, dim, 1))

    def forward(self, x):
        x = x + self.pos_embed(x)
        x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    def __init__(self, dim, head_dim):
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=2)
        heads = [
            t.reshape(b, n, c // self.head_dim, self.head_dim).transpose(1, 2) for t in (q, k, v)
        ]
        q, k, v = heads
        weights = (q @ k.transpose(-1, -2) * self.head_dim**-0.5).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))


class Global(nn.Module):
    def __init__(self, dim, head_dim, ratio):
        super().__init__()
        self.pos_embed = nn.Conv3d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, head_dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(nn.Linear(dim, dim * ratio), nn.Linear(dim * ratio, dim))

    def forward(self, x):
        x = x + self.pos_embed(x)
        shape = x.shape
        x = x.flatten(2).transpose(1, 2)
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.transpose(1, 2).reshape(shape)


class Patch(nn.Module):
    def __init__(self, a, b, kernel, stride, padding):
        super().__init__()
        self.proj = nn.Conv3d(a, b, kernel, stride, padding)
        self.norm = nn.LayerNorm(b)

    def forward(self, x):
        x = self.proj(x)
        shape = x.shape
        return self.norm(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(shape).contiguous()


class NaiveUniFormer(nn.Module):
    """Video UniFormer without stochastic depth; `[B, 3, T, H, W]` -> `[B, num_classes]`."""

    def __init__(self, num_classes, embed_dims, depths, head_dim, kernel, ratio=4):
        super().__init__()
        self.num_classes = num_classes
        dims = [3, *embed_dims]
        for i in range(4):
            shape = ((3, 4, 4), (2, 4, 4), (1, 0, 0)) if i == 0 else ((1, 2, 2), (1, 2, 2), 0)
            setattr(self, f"patch_embed{i + 1}", Patch(dims[i], dims[i + 1], *shape))
            blocks = [
                Local(dims[i + 1], kernel, ratio) if i < 2 else Global(dims[i + 1], head_dim, ratio)
                for _ in range(depths[i])
            ]
            setattr(self, f"blocks{i + 1}", nn.Sequential(*blocks))
        self.norm = nn.BatchNorm3d(dims[4])
        self.head = nn.Linear(dims[4], num_classes)

    def forward(self, x):
        for i in range(1, 5):
            x = getattr(self, f"blocks{i}")(getattr(self, f"patch_embed{i}")(x))
        return self.head(torch.flatten(self.norm(x), 2).mean(-1))
