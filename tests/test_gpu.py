"""On a GPU everything gives what it gives on the CPU, up to rounding. The neurons' kernels: tests/snn/test_fused.py."""

import json

import pytest
import torch
from asking import ask
from few_steps import few_steps
from torch import nn

from spikeflip import SCG, Rectangular, SpikingNetwork, judge, simulate_saccades, wrap
from spikeflip.attacks import ATTACKS
from spikeflip.snn.coding import encode, winner
from spikeflip.snn.neuron import integrate
from spikeflip.snn.training import Training, train
from spikeflip.snn.twin import ReluNetwork

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]

GPU = "cuda"


def on_gpu(network):
    """A copy: the CPU's stays where it is."""
    other = type(network)(
        network.architecture, network.input_shape, time_steps=network.time_steps, neuron=network.neuron
    )
    other.load_state_dict(network.state_dict())
    return other.to(GPU)


@pytest.fixture(scope="module")
def images(digit_victim, digits):
    return digit_victim, digits.images[:24], digits.labels[:24]


@pytest.fixture(scope="module")
def spikes(digits):
    inputs = simulate_saccades(digits.images[:24], steps=6, size=16)
    network = SpikingNetwork("8C3-AP2-32FC-10FC", (2, 16, 16), time_steps=6, seed=4)
    return network, inputs, winner(network.scores(inputs)).clamp_min(0)


@pytest.fixture(params=["images", "spikes"])
def setting(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def wide():
    """A network whose sums are long; its weights are scaled until all layers fire."""
    network = SpikingNetwork("128C3-512C3-AP2-1024FC-10FC", (1, 28, 28), time_steps=15, seed=1)
    with torch.no_grad():
        for weight in network.weights:
            weight.mul_(2.5)
    return network, (torch.rand((8, 15, 1, 28, 28), generator=torch.Generator().manual_seed(0)) < 0.3).float()


def test_currents_of_wide_layers_are_as_exact_as_those_of_the_cpu(wide):
    network, spikes = wide
    other = on_gpu(network)
    for i in range(len(network.layers)):
        expected = network.on("torch").engine.current(i, spikes)
        found = other.engine.current(i, spikes.to(GPU)).cpu()
        assert (found - expected).norm() <= 1e-6 * expected.norm(), network.layers[i]
        _, spikes = integrate(expected, network.neuron)
        assert 0.01 < spikes.mean() < 0.9


def test_spikes_differ_only_within_rounding_of_the_threshold(wide):
    network, spikes = wide
    found = on_gpu(network).engine.forward(spikes.to(GPU), last=2)[0].cpu()
    expected, potentials = network.on("torch").engine.forward(spikes, last=2)
    differ = found != expected
    assert differ.float().mean() < 1e-4
    # The step at which a neuron first differs; what follows is its reset.
    first = differ & (differ.cumsum(1) == 1)
    assert ((potentials[1][first] - network.neuron.threshold).abs() < 1e-4).all()


def test_settings_of_pytorch_are_left_alone(wide):
    network, spikes = wide
    place = getattr(torch.backends.cudnn, "conv", None)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, place and place.fp32_precision
    on_gpu(network).scores(spikes.to(GPU))
    after = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, place and place.fp32_precision
    assert before == after


def test_input_gradients_are_those_of_the_cpu(images):
    network, inputs, _ = images
    spikes = encode(inputs, network.input_shape, network.time_steps, seed=0, samples=torch.arange(24))
    found = []
    for victim in (network, on_gpu(network)):
        probe = victim.probe(spikes.to(victim.device))
        weights = torch.linspace(-1, 1, 10, device=victim.device)
        gradient = probe.input_gradient(
            lambda scores, _rows, weights=weights: weights.expand_as(scores),
            ask(torch.arange(24, device=victim.device)),
        )
        found.append(gradient.values.cpu().clone())
    assert found[0].any()
    assert (found[1] - found[0]).norm() < 0.01 * found[0].norm()


@pytest.mark.parametrize("name", list(ATTACKS))
@pytest.mark.parametrize("goal", ["untargeted", "targeted"])
@pytest.mark.parametrize("where", ["cpu", GPU])
def test_attacks(setting, name, goal, where):
    network, inputs, labels = setting
    kind = "images" if inputs.ndim == 4 else "spikes"
    if kind not in ATTACKS[name].inputs or goal not in ATTACKS[name].goals:
        pytest.skip(f"{name} does not attack {kind} so")
    victim, targets = on_gpu(network), (labels + 1) % 10 if goal == "targeted" else None

    def run():
        given = inputs.to(where), labels.to(where), None if targets is None else targets.to(where)
        return ATTACKS[name].settings(**few_steps(name, 6))(victim, *given, seed=3, micro_batch=7)

    result, again = run(), run()
    assert result.adversarials.device.type == where
    assert torch.equal(result.adversarials, again.adversarials)
    assert torch.equal(result.success, again.success)
    assert result.adversarials.shape == inputs.shape
    if kind == "spikes":
        assert set(result.adversarials.unique().tolist()) <= {0.0, 1.0}
        predictions = winner(network.scores(result.adversarials.cpu()))
        assert (predictions == result.prediction).float().mean() > 0.9
    else:
        assert (result.adversarials.min() >= 0) & (result.adversarials.max() <= 1)
    on_cpu = ATTACKS[name].settings(**few_steps(name, 6))(network, inputs, labels, targets, seed=3)
    assert torch.equal(result.already_wrong, on_cpu.already_wrong)
    assert (result.success == on_cpu.success).float().mean() > 0.8


def test_what_an_attack_claims_holds_on_the_cpu(images):
    network, inputs, labels = images
    result = SCG(steps=25, threshold=1.0)(on_gpu(network), inputs, labels)
    of_gpu = judge(on_gpu(network), inputs, result.adversarials, labels, None, result, draws=5).summary()
    of_cpu = judge(network, inputs, result.adversarials, labels, None, result, draws=5).summary()
    assert of_gpu["attack_success_rate"] > 0.8
    assert of_gpu["attack_success_rate"] == pytest.approx(of_cpu["attack_success_rate"], abs=0.1)
    won = result.success
    shown = judge(network, inputs[won], result.adversarials[won], labels[won], draws=3)
    assert shown.summary()["attack_success_rate"] > 0.6


def test_training_learns_and_goes_on(digits, tmp_path):
    data = digits.images, digits.labels
    settings = Training(updates=60, learning_rate=1e-2, dropout=0.1, widest_dropout=0.1, shift=1, validate_every=20)

    def trained(state=None, progress=None):
        network = SpikingNetwork("8C3-AP2-32FC-10FC", (1, 8, 8), time_steps=8).to(GPU)
        train(network, data, data, settings, state=state, progress=progress)
        return network

    class StopError(Exception):
        pass

    def stop(now):
        if now.update == 20:
            raise StopError

    whole = trained()
    with pytest.raises(StopError):
        trained(tmp_path / "state", stop)
    resumed = trained(tmp_path / "state")
    seen = encode(digits.images, (1, 8, 8), 8, seed=5, samples=torch.arange(len(digits)))
    scores = whole.scores(seen.to(GPU))
    assert (winner(scores).cpu() == digits.labels).float().mean() > 0.5
    assert (winner(scores) == winner(resumed.scores(seen.to(GPU)))).float().mean() > 0.9


def test_twins(images):
    network, inputs, _ = images
    twin = ReluNetwork.twin_of(network)
    expected = twin(inputs)
    torch.testing.assert_close(twin.to(GPU)(inputs.to(GPU)).cpu(), expected, rtol=1e-4, atol=1e-4)


class Step(nn.Module):
    """A network that somebody else wrote: leaky neurons with state, one time step a call."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 32), nn.Linear(32, 10)
        self.potential = [0.0, 0.0]

    def forward(self, frames):
        self.potential, total = [0.0, 0.0], 0.0
        for frame in frames.unbind(1):
            spikes = frame.flatten(1)
            for i, layer in enumerate((self.first, self.last)):
                potential = 0.5 * self.potential[i] + layer(spikes)
                spikes = _Fire.apply(potential - 0.1)
                self.potential[i] = potential * (1 - spikes.detach())
            total = total + spikes
        return total / frames.shape[1]


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, distance):
        ctx.save_for_backward(distance)
        return (distance >= 0).float()

    @staticmethod
    def backward(ctx, gradient):
        (distance,) = ctx.saved_tensors
        return gradient * (distance.abs() < 0.5).float()


def test_models_of_others(digits):
    torch.manual_seed(0)
    model = Step().to(GPU)
    inputs = simulate_saccades(digits.images[:8], steps=6, size=8)[:, :, :1]
    victim = wrap(model, inputs[:2].to(GPU), layout="BT", neurons={})
    labels = winner(victim.scores(inputs.to(GPU))).clamp_min(0).cpu()
    result = SCG(steps=5, threshold=None)(victim, inputs, labels)
    assert result.adversarials.device.type == "cpu"
    assert set(result.adversarials.unique().tolist()) <= {0.0, 1.0}
    assert result.success.any()


def test_the_command(run, tmp_path):
    network = ["--network", "8C3-AP2-24FC-10FC", "--updates", "30", "--learning-rate", "0.01"]
    still = ["--dropout", "0", "--widest-dropout", "0", "--device", GPU]
    victim, attacked = tmp_path / "victim", tmp_path / "run"
    assert run("train", *network, *still, "--out", victim)[0] == 0
    options = ["--samples", "6", "--target", "all", "--draws", "5", "--device", GPU]
    assert run("attack", "--victim", victim, *options, "--out", attacked)[0] == 0
    assert json.loads((attacked / "manifest.json").read_text())["device"] == torch.cuda.get_device_name()
    for arguments in (
        ["verify", attacked, "--victim", victim],
        ["transfer", attacked, "--victim", victim, "--device", GPU],
        ["reproduce", "figure-15", "--preset", "smoke", "--device", GPU, "--out", tmp_path / "paper"],
    ):
        status, _, said = run(*arguments)
        assert status == 0, said


def test_other_surrogates_and_precisions(spikes):
    network, inputs, labels = spikes
    victim = on_gpu(network)
    for other in (victim.on("torch", precision="bf16-gradient"), victim.on("torch", surrogate=Rectangular(2.0))):
        result = SCG(steps=6)(other, inputs, labels)
        assert torch.equal(result.already_wrong, winner(network.scores(inputs)) != labels)
        assert result.success.any()
