"""Stand-ins for what attack libraries call our attacks with."""

import numpy as np
import torch

INPUTS = 16


class Raw:
    """An eagerpy tensor: holds one of PyTorch."""

    def __init__(self, raw):
        self.raw = raw


class Misclassification:
    def __init__(self, labels):
        self.labels = Raw(labels)


class TargetedMisclassification:
    def __init__(self, target_classes):
        self.target_classes = Raw(target_classes)


class And:
    def __init__(self, a, b):
        self.a, self.b = a, b


class Closure:
    """A model of foolbox: keeps what it was given out of reach."""

    bounds = (0, 1)

    def __init__(self, module, change=lambda x: x):
        self._model = lambda x: module(change(x))

    def __call__(self, x):
        return self._model(x)


class Estimator:
    """A classifier of ART: arrays in, arrays out, in batches."""

    def __init__(self, module):
        self._module = module

    def predict(self, x):
        return self._module(torch.from_numpy(x.astype(np.float32))).numpy()
