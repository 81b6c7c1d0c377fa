"""The Triton kernel of :mod:`spikeflip.streams`; imported there alone, since not every PyTorch comes with Triton."""

import triton
import triton.language as tl

BLOCK = 128
"""Counters a program, of eight numbers each."""


@triton.jit(do_not_specialize=["purpose", "first", "numbers"])
def uniform(out, seed, samples, steps, purpose, first, numbers, block: tl.constexpr):
    """Philox with 4 words of 64 bits and 10 rounds (Salmon et al., SC 2011), as numpy has it, in [0, 1).

    From the counter after ``first`` on, eight numbers each.
    """
    blocks = tl.cdiv(tl.cdiv(numbers, 8), block)
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    counter = (tl.program_id(0) % blocks).to(tl.int64) * block + tl.arange(0, block)
    key0 = tl.load(seed).to(tl.uint64)
    key1 = tl.load(samples + sample).to(tl.uint64)
    # numpy counts before it draws.
    c0 = (counter + first + 1).to(tl.uint64)
    c1 = tl.zeros([block], tl.uint64)
    c2 = c1 + tl.load(steps + sample).to(tl.uint64)
    c3 = c1 + purpose.to(tl.uint64)
    m0 = tl.full([block], 0xD2E7470EE14C6C93, tl.uint64)
    m1 = tl.full([block], 0xCA5A826395121157, tl.uint64)
    w0 = tl.full([1], 0x9E3779B97F4A7C15, tl.uint64)
    w1 = tl.full([1], 0xBB67AE8584CAA73B, tl.uint64)
    key0 += tl.zeros([1], tl.uint64)
    key1 += tl.zeros([1], tl.uint64)
    for _ in tl.static_range(10):
        high0, low0 = tl.umulhi(m0, c0), m0 * c0
        high1, low1 = tl.umulhi(m1, c2), m1 * c2
        c0, c1, c2, c3 = high1 ^ c1 ^ key0, low1, high0 ^ c3 ^ key1, low0
        key0 += w0
        key1 += w1
    out += sample * numbers
    _store(out, c0, 8 * counter, numbers)
    _store(out, c1, 8 * counter + 2, numbers)
    _store(out, c2, 8 * counter + 4, numbers)
    _store(out, c3, 8 * counter + 6, numbers)


@triton.jit
def _store(out, word, place, numbers):
    """Two numbers of 24 bits from a word: its lower half first."""
    unit = 1.0 / 16777216
    tl.store(out + place, ((word & 0xFFFFFFFF) >> 8).to(tl.int32).to(tl.float32) * unit, place < numbers)
    tl.store(out + place + 1, (word >> 40).to(tl.int32).to(tl.float32) * unit, place + 1 < numbers)
