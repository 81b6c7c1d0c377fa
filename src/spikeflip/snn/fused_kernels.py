"""The Triton kernels of :mod:`spikeflip.snn.fused`; imported there alone, since not every PyTorch comes with Triton.

A program takes one block of neurons of one sample through all time steps. The neurons of a sample and step lie together
in memory, in whatever order, so a neuron is one number; only samples and steps have strides.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["steps"])
def integrate(
    current,
    potential,
    spikes,
    neurons,
    steps,
    current_sample,
    current_step,
    potential_sample,
    potential_step,
    spikes_sample,
    spikes_step,
    threshold,
    decay,
    reset: tl.constexpr,
    block: tl.constexpr,
):
    """Eq. 6; ``potential`` may be ``current``."""
    blocks = tl.cdiv(neurons, block)
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    neuron = tl.program_id(0) % blocks * block + tl.arange(0, block)
    exists = neuron < neurons
    current += sample * current_sample + neuron
    potential += sample * potential_sample + neuron
    spikes += sample * spikes_sample + neuron
    carry = tl.zeros([block], tl.float32)
    for _ in range(steps):
        u = tl.load(current, exists) + decay * carry
        fired = u >= threshold
        tl.store(potential, u, exists)
        tl.store(spikes, fired.to(tl.float32), exists)
        if reset == "hard":
            carry = tl.where(fired, 0.0, u)
        elif reset == "soft":
            carry = tl.where(fired, u - threshold, u)
        else:
            carry = u
        current += current_step
        potential += potential_step
        spikes += spikes_step


@triton.jit(do_not_specialize=["steps"])
def reverse(
    gradient,
    potential,
    neurons,
    steps,
    gradient_sample,
    gradient_step,
    potential_sample,
    potential_step,
    threshold,
    decay,
    centre,
    half_width,
    height,
    reset: tl.constexpr,
    block: tl.constexpr,
):
    """Eq. 8 with the rectangular window of Eq. 9, from the last step to the first, in place."""
    blocks = tl.cdiv(neurons, block)
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    neuron = tl.program_id(0) % blocks * block + tl.arange(0, block)
    exists = neuron < neurons
    last = (steps - 1).to(tl.int64)
    gradient += sample * gradient_sample + last * gradient_step + neuron
    potential += sample * potential_sample + last * potential_step + neuron
    later = tl.zeros([block], tl.float32)  # dL/du[t+1] * decay
    for _ in range(steps):
        u = tl.load(potential, exists)
        slope = tl.where(tl.abs(u - centre) <= half_width, height, 0.0)
        if reset == "hard":
            through = tl.where(u < threshold, 1.0, 0.0) - u * slope
        elif reset == "soft":
            through = 1.0 - threshold * slope
        else:
            through = 1.0
        g = tl.load(gradient, exists) * slope + later * through
        tl.store(gradient, g, exists)
        later = decay * g
        gradient -= gradient_step
        potential -= potential_step
