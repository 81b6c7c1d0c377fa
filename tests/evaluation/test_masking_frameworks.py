"""Honest models of other frameworks, trained as the examples train them, are not accused."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import masking_victims as victims
import pytest
import torch

from spikeflip import wrap
from spikeflip.evaluation.masking import masking_verdict

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]
EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    pytest.importorskip(name)
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"attack_{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flat_digits(steps):
    """Images ``(N, 64)``, labels, and spikes as an example to wrap a model with."""
    images, labels = victims.digits("test")
    images = images.flatten(1)
    numbers = torch.rand((4, steps, 64), generator=torch.Generator().manual_seed(0))
    return images, labels, (numbers < images[:4, None]).float()


@pytest.mark.parametrize("budget", [0.01, 0.1])
def test_spikingjelly_on_recordings(budget):
    module = example("spikingjelly")
    model = module.train(60)
    spikes, labels = module.recordings("test")
    victim = wrap(model, spikes[:4], layout="TB")
    assert masking_verdict(victim, spikes[:16], labels[:16], threat="binary-l0", budget=budget).word == "trustworthy"


def test_snntorch_on_images():
    module = example("snntorch")
    images, labels, spikes = flat_digits(module.STEPS)
    victim = wrap(module.train(100), spikes, layout="TB", output=0)
    assert masking_verdict(victim, images[:16], labels[:16], threat="image-mse", budget=0.01).word == "trustworthy"


def test_norse_on_images():
    module = example("norse")
    images, labels, spikes = flat_digits(module.STEPS)
    victim = wrap(module.train(100), spikes, layout="TB", output=0, readout="max")
    assert masking_verdict(victim, images[:16], labels[:16], threat="image-linf", budget=0.1).word == "trustworthy"
