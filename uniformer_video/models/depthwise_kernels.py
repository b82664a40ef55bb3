"""Triton kernels for depthwise convolution of channels-last tokens, `[B, T, H, W, C]`.

A depthwise convolution does little arithmetic for each number that it reads, so memory traffic decides its
speed. A program here (Triton's word for a block of threads) makes TIMES output positions, one behind another
in time, a "column", for PLACES positions of a frame and CHANNELS channels. It holds their sums in registers,
so that a token, once loaded, serves all outputs of the column within the kernel's reach in time. Sums are
made in float32 (float64 for float64) and in a fixed order: the same input gives the same bits.

Names: a tap is one weight of the convolution's kernel, at `step` in time, `down` in height and `right` in
width; `first` is the first output time of a column; `made` counts its outputs and `seen` the input times that
they need, TIMES + KERNEL_T - 1 of them. Output `made` takes input `seen` by the tap `step = seen - made`.
From one time to the next it is `frame` elements in memory, and a long clip has more of them than 32 bits
count. A `limit` is the number of channels to load or store, 0 where the time lies outside.
"""
# Tuples grow, since Triton's compiler knows no unpacking of them, nor lists.
# ruff: noqa: RUF005
# mypy: disable-error-code="assignment, var-annotated"

import triton
import triton.language as tl


@triton.jit
def convolve(
    tokens: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    times: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.tensor,
    KERNEL_T: tl.constexpr,
    KERNEL_H: tl.constexpr,
    KERNEL_W: tl.constexpr,
    TIMES: tl.constexpr,
    PLACES: tl.constexpr,
    CHANNELS: tl.constexpr,
    MIRROR: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    DOUBLE: tl.constexpr,
) -> None:
    """Convolve `tokens` `[B, T, H, W, C]` with `weight` `[KT, KH, KW, C]` into `out`, zeros around.

    MIRROR: reverse the kernel on all axes; of the output's gradient that gives the tokens' gradient. DOUBLE:
    tokens are float64. A program makes TIMES x PLACES x CHANNELS outputs; the grid of programs is (blocks of
    places, blocks of channels, B x columns).
    """
    SUM: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    places = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    columns = tl.cdiv(times, TIMES)
    sample = tl.program_id(2) // columns
    first = (tl.program_id(2) % columns) * TIMES
    row, column = places // width, places % width
    frame = height * width * channels
    is_channel = channel < channels
    tokens += sample.to(tl.int64) * times * frame
    out += sample.to(tl.int64) * times * frame

    sums = ()
    for _ in tl.static_range(TIMES):
        sums = sums + (tl.zeros([PLACES, CHANNELS], SUM),)
    for down in range(KERNEL_H):
        y = row + down - KERNEL_H // 2
        for right in range(KERNEL_W):
            x = column + right - KERNEL_W // 2
            inside = (places < height * width) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
            near = tokens + (y * width + x)[:, None] * channels + channel[None, :]
            taps = ()
            for step in tl.static_range(KERNEL_T):
                tap = (step * KERNEL_H + down) * KERNEL_W + right
                if MIRROR:
                    tap = KERNEL_T * KERNEL_H * KERNEL_W - 1 - tap
                taps = taps + (
                    tl.load(weight + tap * channels + channel, is_channel, 0.0).to(SUM)[None, :],
                )
            for seen in tl.static_range(TIMES + KERNEL_T - 1):
                time = first + seen - KERNEL_T // 2
                limit = tl.where((time >= 0) & (time < times), channels, 0)
                mask = inside[:, None] & (channel < limit)[None, :]
                token = tl.load(near + time.to(tl.int64) * frame, mask, 0.0).to(SUM)
                grown = ()  # `sums`, to which the token has been added where it has a part
                for made in tl.static_range(TIMES):
                    if (seen - made >= 0) and (seen - made < KERNEL_T):
                        grown = grown + (sums[made] + token * taps[seen - made],)
                    else:
                        grown = grown + (sums[made],)
                sums = grown

    here = out + places[:, None] * channels + channel[None, :]
    for made in tl.static_range(TIMES):
        total = sums[made]
        if HAS_BIAS:
            total += tl.load(bias + channel, is_channel, 0.0).to(SUM)[None, :]
        time = first + made
        limit = tl.where(time < times, channels, 0)
        mask = (places < height * width)[:, None] & (channel < limit)[None, :]
        tl.store(here + time.to(tl.int64) * frame, total.to(out.dtype.element_ty), mask)


@triton.jit
def correlate(
    tokens: tl.tensor,
    gradient: tl.tensor,
    parts: tl.tensor,
    samples: tl.tensor,
    times: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    channels: tl.tensor,
    PARTS: tl.constexpr,
    KERNEL_T: tl.constexpr,
    KERNEL_H: tl.constexpr,
    KERNEL_W: tl.constexpr,
    TIMES: tl.constexpr,
    PLACES: tl.constexpr,
    CHANNELS: tl.constexpr,
    DOUBLE: tl.constexpr,
) -> None:
    """Partial sums of the gradients for weight and bias, into `parts` `[PARTS, KT * KH * KW + 1, C]`.

    gradient: that of the output, `[B, T, H, W, C]`. Added up over PARTS they are the gradients of the taps,
    the last row that of the bias. The grid of programs is (blocks of channels, KH, PARTS): each goes through
    every PARTS-th block of TIMES x PLACES outputs (a `unit`), for one row `down` of the kernel.
    """
    SUM: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    down = tl.program_id(1)
    part = tl.program_id(2)
    is_channel = channel < channels
    frame = height * width * channels
    columns = tl.cdiv(times, TIMES)
    blocks = tl.cdiv(height * width, PLACES)

    sums = ()
    for _ in tl.static_range(KERNEL_T * KERNEL_W):
        sums = sums + (tl.zeros([PLACES, CHANNELS], SUM),)
    bias_sum = tl.zeros([PLACES, CHANNELS], SUM)
    for unit in range(part, samples * columns * blocks, PARTS):
        places = (unit % blocks) * PLACES + tl.arange(0, PLACES)
        first = (unit // blocks % columns) * TIMES
        start = (unit // blocks // columns).to(tl.int64) * times * frame
        row, column = places // width, places % width
        is_place = places < height * width
        y = row + down - KERNEL_H // 2
        is_row = is_place & (y >= 0) & (y < height)
        gradients = ()
        for made in tl.static_range(TIMES):
            time = first + made
            limit = tl.where(time < times, channels, 0)
            here = (
                gradient
                + start
                + time.to(tl.int64) * frame
                + places[:, None] * channels
                + channel[None, :]
            )
            mask = is_place[:, None] & (channel < limit)[None, :]
            gradients = gradients + (tl.load(here, mask, 0.0).to(SUM),)
            bias_sum += gradients[made]
        for seen in tl.static_range(TIMES + KERNEL_T - 1):
            time = first + seen - KERNEL_T // 2
            limit = tl.where((time >= 0) & (time < times), channels, 0)
            for right in tl.static_range(KERNEL_W):
                x = column + right - KERNEL_W // 2
                near = (
                    tokens
                    + start
                    + time.to(tl.int64) * frame
                    + (y * width + x)[:, None] * channels
                    + channel[None, :]
                )
                mask = (is_row & (x >= 0) & (x < width))[:, None] & (channel < limit)[None, :]
                token = tl.load(near, mask, 0.0).to(SUM)
                added = ()  # `sums`, to which the token has been added where it has a part
                for step in tl.static_range(KERNEL_T):
                    for across in tl.static_range(KERNEL_W):
                        if (across == right) and (seen - step >= 0) and (seen - step < TIMES):
                            added = added + (
                                sums[step * KERNEL_W + across] + token * gradients[seen - step],
                            )
                        else:
                            added = added + (sums[step * KERNEL_W + across],)
                sums = added

    ROWS: tl.constexpr = KERNEL_T * KERNEL_H * KERNEL_W
    parts += part * (ROWS + 1) * channels
    for step in tl.static_range(KERNEL_T):
        for right in tl.static_range(KERNEL_W):
            tap = (step * KERNEL_H + down) * KERNEL_W + right
            total = tl.sum(sums[step * KERNEL_W + right], 0)
            tl.store(parts + tap * channels + channel, total, is_channel)
    if down == 0:
        tl.store(parts + ROWS * channels + channel, tl.sum(bias_sum, 0), is_channel)
