"""A module with a model and a defence of somebody's own, as text."""

import textwrap

CODE = textwrap.dedent('''
    """A model and a defence of somebody's own."""

    import os

    import torch
    from torch import nn

    import spikeflip

    SEED, SCALE = 0, 1.0


    class Neuron(nn.Module):
        def __init__(self):
            super().__init__()
            self.thresh, self.mem = 0.5, 0.0

        def act(self, u):
            return torch.sigmoid(4 * u) + ((u >= 0).float() - torch.sigmoid(4 * u)).detach()

        def forward(self, current):
            self.mem = 0.5 * self.mem + current
            spikes = self.act(self.mem - self.thresh)
            self.mem = self.mem * (1 - spikes)
            return spikes


    def small(sizes=(64, 24, 10), seed=0):
        print("talk: a model is built")
        torch.manual_seed(seed)
        first = nn.Linear(sizes[0], sizes[1])
        return nn.Sequential(nn.Flatten(), first, Neuron(), nn.Linear(*sizes[1:]), Neuron())


    def snn():
        return small(seed=SEED)


    def other():
        return small(seed=1)


    def events():
        net = small((2 * 8 * 8, 24, 2))
        for parameter in net.parameters():
            parameter.data.mul_(4)
        return net


    def random():
        return small(seed=int.from_bytes(os.urandom(4), "little"))


    def wrapped():
        return spikeflip.wrap(snn(), (torch.rand(4, 6, 1, 8, 8) < 0.4).float(), layout="steps")


    def unseen():
        inner = wrapped()

        class Blackbox:
            input_shape, time_steps, coding, classes = (1, 8, 8), 6, "rate", 10
            device, penultimate_threshold = torch.device("cpu"), None

            def scores(self, spikes):
                return inner.scores(spikes)

            def probe(self, spikes, request=None):
                return inner.probe(spikes, request)

        return Blackbox()


    class Median(spikeflip.Defence):
        def transform(self, spikes):
            before, after = torch.cat([spikes[:, :1], spikes[:, :-1]], 1), torch.cat([spikes[:, 1:], spikes[:, -1:]], 1)
            return torch.stack([before, spikes, after]).median(0).values


    def nothing(victim):
        return None


    def broken(victim):
        raise ValueError("no defence today")


    class Mask(spikeflip.Defence):
        """A random mask, drawn when it is made; and weights of its own."""

        def __init__(self, victim):
            super().__init__(victim)
            self.keep = (torch.rand(victim.input_shape) > 0.3).float()
            self.scale = torch.tensor(SCALE)

        def transform(self, spikes):
            return spikes * self.keep * self.scale

        def backward(self, spikes, gradient):
            return gradient * self.keep


    class Random(spikeflip.Defence):
        def transform(self, spikes):
            return (torch.rand_like(spikes) > 0.5).float()


    class OfBatch(spikeflip.Defence):
        def transform(self, spikes):
            return torch.full_like(spikes, float(len(spikes) > 1))


    class InPlace(spikeflip.Defence):
        def transform(self, spikes):
            spikes[:, :3] = 0
            return spikes


    class Raises(spikeflip.Defence):
        def transform(self, spikes):
            raise KeyError("mask")


    class WayBack(spikeflip.Defence):
        def transform(self, spikes):
            return spikes

        def backward(self, spikes, gradient):
            return gradient[:, :1]
''')
