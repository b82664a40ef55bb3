"""A still textured scene with a moving disc, its masks, and a small segmentation model trained on such."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from uniformer_video.weights.checkpoint import write_checkpoint
from uniformer_video.zoo.create import build_network
from uniformer_video.zoo.published_dense import published_pixels

NAME = "semantic_fpn_uniformer_s"
NAMES = ["wall", "floor", "window", "ball"]
NOISE = 80  # standard deviation of the levels of a frame
SIZE = (96, 128)
_SIZES = {
    "embed_dims": [16, 24, 32, 48],
    "depths": [1, 1, 1, 1],
    "head_dim": 8,
    "neck_channels": 24,
    "head_channels": 24,
}
_COLOURS = np.array([(90, 110, 150), (150, 120, 80), (80, 150, 90), (170, 80, 100)], np.float32)


def moving_shape(count, seed, size=SIZE, noise=NOISE):
    """(uint8 `[count, H, W, 3]` RGB, uint8 `[count, H, W]`): wall and floor, a window, a ball that moves half
    a pixel a frame; with the noise of a bad camera.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    still = (y > height * rng.uniform(0.5, 0.7)).astype(np.uint8)
    side = int(height * rng.uniform(0.3, 0.45))
    top, left = int(rng.uniform(0.1, 0.6) * height), int(rng.uniform(0, 0.7) * width)
    still[top : top + side, left : left + side] = 2
    across, down = rng.uniform(0.1, 0.4) * width, rng.uniform(0.3, 0.7) * height
    stripes = 14 * np.stack([np.sin(0.9 * x), np.sin(0.6 * (x + y)), np.sin(0.9 * y), 0 * x])
    frames, masks = [], []
    for number in range(count):
        ball = (x - across - 0.5 * number) ** 2 + (y - down) ** 2 < (0.2 * height) ** 2
        mask = np.where(ball, 3, still).astype(np.uint8)
        shade = np.take_along_axis(stripes, mask[None].astype(np.int64), 0)[0]
        frame = _COLOURS[mask] + shade[..., None]
        frame = frame + rng.normal(0, noise, (*size, 1)) + rng.normal(0, noise, (*size, 3))
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
        masks.append(mask)
    return np.array(frames), np.array(masks)


def shape_protocol(size=SIZE):
    """How pictures of `moving_shape` are prepared: as they are."""
    protocol = published_pixels(NAME)
    views = replace(protocol.views, short_side=min(size), long_side=max(size))
    return replace(protocol, views=views)


def write_shape_model(path, steps=120):
    """Train for seconds on scenes of `moving_shape`, and write a checkpoint; its path."""
    torch.manual_seed(0)
    model = build_network(NAME, len(NAMES), **_SIZES)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    normalise = shape_protocol().views.normalise
    for step in range(steps):
        pairs = [moving_shape(1, (step, place), (64, 64)) for place in range(8)]
        frames, masks = (np.concatenate(each) for each in zip(*pairs, strict=True))
        inputs = normalise(torch.from_numpy(frames).permute(3, 0, 1, 2)).transpose(0, 1)
        logits = F.interpolate(model(inputs), masks.shape[1:], mode="bilinear")
        optimizer.zero_grad()
        F.cross_entropy(logits, torch.from_numpy(masks).long()).backward()
        optimizer.step()
        schedule.step()
    write_checkpoint(
        path,
        model.state_dict(),
        {
            "model": {"name": NAME, "arguments": model.arguments},
            "class_names": NAMES,
            "task": "segmentation",
            "protocol": shape_protocol().to_dict(),
        },
    )
    return path
