import pytest
import torch
from asking import ask

from spikeflip import Budget, ReluNetwork, SpikeflipError, SpikingNetwork, judge, scg
from spikeflip.attacks import bim
from spikeflip.snn.losses import ce
from spikeflip.snn.training import Training, accuracy
from spikeflip.snn.twin_training import train_twin

KEPT = {"dropout": 0, "widest_dropout": 0}


def some_images(n, *shape, seed=0):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def twin():
    return ReluNetwork("6C3-AP2-8C5-AP2-12FC-10FC", (2, 9, 9), seed=3)


def towards_of(weights):
    return lambda scores, rows: weights[rows]


def test_old_names_work():
    from spikeflip.snn import network

    assert network.ReluNetwork is ReluNetwork
    spiking = SpikingNetwork("4C3-AP2-6FC-3FC", (2, 6, 6), seed=1)
    assert all(map(torch.equal, ReluNetwork("4C3-AP2-6FC-3FC", (2, 6, 6), seed=1).weights, spiking.weights))


def test_one_neuron_by_hand():
    twin = ReluNetwork("2FC-2FC", (2,))
    with torch.no_grad():
        twin.weights[0].copy_(torch.tensor([[1.0, 2.0], [-1.0, 0.5]]))
        twin.weights[1].copy_(torch.tensor([[1.0, 1.0], [3.0, -1.0]]))
    image = torch.tensor([[[0.5, 0.2]]])  # hidden: 0.9, relu(-0.4) = 0
    probe = twin.probe(image)
    torch.testing.assert_close(probe.scores, torch.tensor([[0.9, 2.7]]))
    torch.testing.assert_close(twin.scores(image), probe.scores)
    found = probe.input_gradient(towards_of(torch.tensor([[1.0, 1.0]])), ask(torch.tensor([0])))
    torch.testing.assert_close(found.values, torch.tensor([[[4.0, 8.0]]]))  # (1 + 3) * (1, 2)


def test_gradient_is_that_of_autograd(twin):
    twin.double()
    images, labels = some_images(5, 2, 9, 9).double(), torch.tensor([0, 3, 9, 1, 1])
    rows = torch.tensor([4, 0, 2, 2])  # not all, not in order, one twice

    def towards(scores, rows):
        leaf = scores.clone().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(ce(leaf, labels[rows]).sum(), leaf)[0]

    found = twin.probe(images.unsqueeze(1)).input_gradient(towards, ask(rows))
    leaf = images[rows].requires_grad_()
    (expected,) = torch.autograd.grad(ce(twin(leaf), labels[rows]).sum(), leaf)
    torch.testing.assert_close(found.values, expected.unsqueeze(1))
    assert found.values.shape == (4, 1, 2, 9, 9)
    assert not found.loss_zero.any()
    assert not found.output_zero.any()
    assert found.penultimate_spikes.tolist() == [0, 0, 0, 0]


def test_zero_loss_gradients_are_told(twin):
    weights = torch.tensor([[0.0] * 10, [1.0] * 10])
    found = twin.probe(some_images(2, 1, 2, 9, 9)).input_gradient(towards_of(weights), ask(torch.arange(2)))
    assert found.loss_zero.tolist() == [True, False]
    assert found.output_zero.tolist() == [True, False]
    assert not found.values[0].any()
    assert found.values[1].any()


def test_it_is_stateless(twin):
    images = some_images(3, 1, 2, 9, 9)
    first = twin.scores(images)
    probe = twin.probe(images)
    one = probe.input_gradient(towards_of(torch.eye(10)), ask(torch.arange(3))).values.clone()
    twin.scores(some_images(3, 1, 2, 9, 9, seed=1))
    two = probe.input_gradient(towards_of(torch.eye(10)), ask(torch.arange(3))).values
    assert torch.equal(one, two)
    assert torch.equal(twin.scores(images), first)
    assert all(weight.grad is None and weight.requires_grad for weight in twin.weights)
    assert not first.requires_grad


def test_new_weights_give_new_gradients(twin):
    images, rows = some_images(1, 1, 2, 9, 9), torch.tensor([0])
    before = twin.probe(images).input_gradient(towards_of(torch.eye(10)), ask(rows)).values
    with torch.no_grad():
        for weight in twin.weights:
            weight.mul_(2)
    after = twin.probe(images).input_gradient(towards_of(torch.eye(10)), ask(rows)).values
    torch.testing.assert_close(after, before * 16)  # four layers of weights


def test_what_only_spiking_networks_have_is_refused(twin):
    probe, rows = twin.probe(some_images(1, 1, 2, 9, 9)), torch.tensor([0])
    for name, value, words in (
        ("penultimate_threshold", 0.5, "a penultimate threshold of 0.5"),
        ("output_window", 2.0, "BPTT with output window 2.0"),
    ):
        with pytest.raises(SpikeflipError, match=f"{words} is asked for, but a ReLU network"):
            probe.input_gradient(towards_of(torch.eye(10)), ask(rows, **{name: value}))
    with pytest.raises(SpikeflipError, match="engine is 'event'"):
        twin.on("event")
    with pytest.raises(SpikeflipError, match="precision is 'bf16-gradient'"):
        twin.on("torch", precision="bf16-gradient")
    with pytest.raises(SpikeflipError, match=r"takes one time step, \(N, 1, 2, 9, 9\)"):
        twin.scores(torch.zeros(1, 5, 2, 9, 9))
    assert twin.on("torch") is twin
    assert twin.penultimate_threshold is None


def test_attacks_take_images_alone(twin):
    labels = torch.tensor([0])
    with pytest.raises(SpikeflipError, match="takes images \\(N, 2, 9, 9\\) alone"):
        bim(twin, torch.zeros(1, 1, 2, 9, 9), labels)
    with pytest.raises(SpikeflipError, match=r"images hold the value 1\.5"):
        bim(twin, torch.full((1, 2, 9, 9), 1.5), labels)
    with pytest.raises(SpikeflipError, match="choose an attack on images, such as bim"):
        scg(twin, some_images(1, 2, 9, 9), labels, threshold=None)


def test_a_linear_twin_is_attacked_as_in_closed_form():
    """Its logits differ by w x: the sign of w is the whole attack, and how far it must go is known."""
    twin = ReluNetwork("2FC", (4,))
    difference = torch.tensor([0.5, -0.25, 1.0, 0.0])
    with torch.no_grad():
        twin.weights[0].copy_(torch.stack([difference, -difference]) / 2)
    images = torch.full((1, 4), 0.5)  # logits differ by 0.625
    labels = torch.tensor([0])
    result = bim(twin, images, labels, steps=20, step_size=0.05, loss="ce")
    expected = torch.tensor([[0.1, 0.9, 0.1, 0.5]])  # 1.75 a unit of step: 0.3571 is enough, 8 steps of 0.05
    assert result.steps.tolist() == [8]
    torch.testing.assert_close(result.adversarials, expected)
    judgement = judge(twin, images, result.adversarials, labels, None, result, draws=100)
    assert judgement.draws == 1
    assert judgement.rows["success"].tolist() == [True]
    assert judgement.rows["verified"].tolist() == [1.0]


def test_bim_fools_a_trained_twin_whatever_the_batch(digits):
    cut = len(digits) - 100
    twin = ReluNetwork("8C3-AP2-24FC-10FC", (1, 8, 8))
    settings = Training(loss="ce", updates=60, learning_rate=0.01, **KEPT)
    history = train_twin(
        twin, (digits.images[:cut], digits.labels[:cut]), (digits.images[cut:], digits.labels[cut:]), settings
    )
    assert history.validation_accuracy[-1] > 0.7
    inputs, labels = digits.images[:12], digits.labels[:12]
    options = {"steps": 10, "step_size": 0.05, "loss": "ce", "budget": Budget(0.3, "linf")}
    one, many = (bim(twin, inputs, labels, micro_batch=size, **options) for size in (1, 12))
    assert one.success.sum() > 8
    assert torch.equal(one.success, many.success)
    torch.testing.assert_close(one.adversarials, many.adversarials)


@pytest.fixture
def labelled(digits):
    return digits.images[:96], digits.labels[:96]


def trained(labelled, tmp_path=None, stop=None, **options):
    twin = ReluNetwork("4C3-AP2-8FC-10FC", (1, 8, 8))
    settings = Training(**{"updates": 12, "batch_size": 16, "shift": 1, "validate_every": 4} | options)

    def progress(now):
        if now.update == stop:
            raise KeyboardInterrupt

    state = None if tmp_path is None else tmp_path / "state"
    data = (labelled[0][:80], labelled[1][:80]), (labelled[0][80:], labelled[1][80:])
    history = train_twin(twin, *data, settings, progress=progress, state=state, fingerprint="x")
    return twin, history


def test_training_is_deterministic_and_goes_on(labelled, tmp_path):
    one, history = trained(labelled)
    state = torch.random.get_rng_state()
    two, _ = trained(labelled)
    assert torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(KeyboardInterrupt):
        trained(labelled, tmp_path, stop=9)
    three, resumed = trained(labelled, tmp_path)
    assert resumed == history
    for weights in zip(one.weights, two.weights, three.weights, strict=True):
        assert torch.equal(weights[0], weights[1])
        assert torch.equal(weights[0], weights[2])
    with pytest.raises(SpikeflipError, match="holds the unfinished training of another"):
        trained(labelled, tmp_path, loss="ce")


def test_the_first_update_is_adams(labelled):
    """One update without dropout, shift or schedule, beside a plain one."""
    twin, _ = trained(labelled, updates=1, batch_size=80, shift=0, loss="ce", learning_rate=1e-3, **KEPT)
    plain = ReluNetwork("4C3-AP2-8FC-10FC", (1, 8, 8))
    with torch.no_grad():
        for weight in plain.weights[:-1]:
            weight.mul_(6**0.5)
    optimiser = torch.optim.Adam(plain.parameters(), lr=1e-3)
    torch.nn.functional.cross_entropy(plain(labelled[0][:80]), labelled[1][:80]).backward()
    optimiser.step()
    for found, expected in zip(twin.weights, plain.weights, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_dropout_and_micro_batches(labelled):
    dropped, _ = trained(labelled, dropout=0.5)
    whole, _ = trained(labelled, **KEPT)
    assert not torch.allclose(dropped.weights[0], whole.weights[0])
    small, _ = trained(labelled, **KEPT, micro_batch=3)
    torch.testing.assert_close(small.weights[0], whole.weights[0], rtol=0, atol=1e-4)


def test_spikes_and_rates_are_refused(labelled):
    spikes = torch.zeros(80, 3, 1, 8, 8), labelled[1][:80]
    with pytest.raises(SpikeflipError, match=r"takes images .* alone"):
        train_twin(ReluNetwork("10FC", (1, 8, 8)), spikes, labelled, Training())
    with pytest.raises(SpikeflipError, match=r"initial_rate is 0\.1, but a ReLU network"):
        train_twin(ReluNetwork("10FC", (1, 8, 8)), labelled, labelled, Training(initial_rate=0.1))


def test_accuracy_counts_what_the_logits_say():
    twin = ReluNetwork("2FC", (2,))
    with torch.no_grad():
        twin.weights[0].copy_(torch.eye(2))
    images = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.5, 0.5]])
    assert accuracy(twin, images, torch.tensor([0, 1, 0])) == pytest.approx(2 / 3)


def test_the_twin_of_a_double_network_has_its_weights_to_the_last_bit():
    """Two weights that float32 cannot tell apart."""
    network = SpikingNetwork("2FC", (2,)).double()
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[1.0, 1.0 + 1e-12], [0.1, -3.0]], dtype=torch.float64))
    twin = ReluNetwork.twin_of(network)
    assert twin.weights[0].dtype == torch.float64
    assert torch.equal(twin.weights[0], network.weights[0])
    assert twin.weights[0] is not network.weights[0]
