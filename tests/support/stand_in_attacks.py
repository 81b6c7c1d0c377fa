"""Stand-ins for the modules of attack libraries, which keep what they are called with."""

from types import SimpleNamespace

import torch


def climb(model, images, classes, targeted, steps=3, size=0.3):
    """Steps along the sign of the margin's gradient."""
    change = torch.zeros_like(images, requires_grad=True)
    for _ in range(steps):
        scores = model(images + change)
        own = scores.gather(1, classes[:, None]).squeeze(1)
        other = scores.scatter(1, classes[:, None], -torch.inf).amax(1)
        loss = (own - other).sum() * (1 if targeted else -1)
        change.data += size * torch.autograd.grad(loss, change)[0].sign()
        change.data = (images + change.data).clamp(0, 1) - images
    return (images + change).detach()


class AdvLib(SimpleNamespace):
    """``adv_lib.attacks``."""

    def __init__(self, answer=None):
        super().__init__(calls=[], answer=answer)

    def __getattr__(self, name):
        if name not in ("fmn", "ddn", "sigma_zero", "carlini_wagner_l2"):
            raise AttributeError(name)

        def attack(model, inputs, labels, targeted=False, **options):
            self.calls.append((name, len(inputs), labels.tolist(), targeted, options))
            if self.answer is not None:
                return self.answer(model, inputs)
            noise = 0.01 * torch.rand_like(inputs)
            return (climb(model, inputs, labels, targeted) + noise).clamp(0, 1)

        return attack


class Foolbox:
    """``foolbox``, whose attacks answer with black images, as that of Carlini and Wagner does where it fails."""

    def __init__(self):
        self.calls, self.attacks = [], self
        self.Misclassification = lambda classes: ("labels", classes)
        self.TargetedMisclassification = lambda classes: ("targets", classes)
        self.L2DeepFoolAttack = self._maker("L2DeepFoolAttack")
        self.DDNAttack = self._maker("DDNAttack")
        self.L2CarliniWagnerAttack = self._maker("L2CarliniWagnerAttack")

    def PyTorchModel(self, module, bounds, device):
        assert (bounds, torch.device(device)) == ((0, 1), module.victim.device)
        return module

    def _maker(self, name):
        def made(**settings):
            def attack(model, inputs, criterion, epsilons):
                assert epsilons is None
                self.calls.append((name, criterion[0], settings))
                model(inputs)
                return torch.zeros_like(inputs), None, None

            return attack

        return made


class PyAutoAttack:
    """``pyautoattack.square``."""

    def __init__(self):
        self.calls = []
        test = self

        class SquareAttack:
            def __init__(self, predict, **options):
                test.calls.append(options)
                self.predict, self.eps = predict, options["eps"]

            def margin_and_loss(self, x, y):
                scores = self.predict(x)
                return scores[:, 0] * 0, scores[:, 1]

            def perturb(self, x, y):
                test.margin = self.margin_and_loss(x, y)[0]
                return (x + 3 * self.eps).clamp(0, 1)

        self.SquareAttack = SquareAttack
