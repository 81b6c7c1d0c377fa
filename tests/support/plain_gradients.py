"""Input gradients of fully-connected spiking networks by a plain loop of autograd, with any slope."""

import torch


def away(scores, rows):
    """A gradient of the scores in which no two samples and classes weigh the same."""
    return (1 + rows[:, None] + torch.arange(scores.shape[1]) / 7).to(scores)


class Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, threshold, slope):
        ctx.save_for_backward(slope)
        return (u >= threshold).to(u)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None, None


def plain(net, x, slope, window=None, averaged=False):
    """The input gradient by autograd through a loop over time; ``slope`` of the distances of a layer, all at once."""
    neuron, x, steps = net.neuron, x.clone().requires_grad_(), x.shape[1]
    below = x
    for i, weight in enumerate(net.weights):
        current = below @ weight.detach().T
        if averaged:
            current.register_hook(lambda g: g.mean(1, keepdim=True).expand_as(g))
        u, o, us = 0, 0, []
        with torch.no_grad():  # potentials first, so that a slope may depend on all of them
            for t in range(steps):
                u = neuron.decay * after_reset(u, o, neuron) + current[:, t]
                o = (u >= neuron.threshold).to(u)
                us.append(u)
        slopes = slope(torch.stack(us, 1) - neuron.threshold, i)
        u, o, out = 0, 0, []
        for t in range(steps):
            carried = after_reset(u, o, neuron)
            carried = carried.detach() if t and t % (window or steps) == 0 else carried
            u = neuron.decay * carried + current[:, t]
            o = Fire.apply(u, neuron.threshold, slopes[:, t])
            out.append(o)
        below = torch.stack(out, 1)
    scores = below.mean(1)
    scores.backward(away(scores.detach(), torch.arange(len(x))))
    return x.grad


def after_reset(u, o, neuron):
    return {"hard": u * (1 - o), "soft": u - neuron.threshold * o, "none": u}[neuron.reset]
