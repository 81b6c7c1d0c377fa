import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from spikeflip import LIF, SpikeflipError, SpikingNetwork
from spikeflip.snn.architecture import AvgPool
from spikeflip.snn.batches import shifted
from spikeflip.snn.losses import ce, mse, score_gradient
from spikeflip.snn.training import Training, accuracy, train


def network(**options):
    return SpikingNetwork("6C3-AP2-10FC", (1, 8, 8), **{"time_steps": 4, "neuron": LIF(0.3, 0.25), **options})


@pytest.fixture
def labelled(digits):
    return digits.images[:80], digits.labels[:80]


def weights(net):
    return [weight.detach().clone() for weight in net.weights]


def test_training_learns(digit_victim, digits):
    assert accuracy(digit_victim, digits.images, digits.labels) > 0.9


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_weight_gradients_equal_autograd(deep_network, some_spikes, loss):
    spikes, classes = some_spikes(5, 6, 2, 9, 9), torch.tensor([1, 4, 0, 9, 2])
    scores = deep_network(spikes)
    values = {"mse": mse, "ce": ce}[loss](scores, classes)
    values.mean().backward()
    expected = [weight.grad.clone() for weight in deep_network.weights]
    engine = deep_network.engine
    sums = engine.weight_sums()

    def output_gradient(out):
        gradient = score_gradient(loss, out.mean(1), classes)[1] / (5 * 6)
        return gradient.unsqueeze(1).expand_as(out).contiguous()

    with torch.no_grad():
        engine.add_weight_gradients(spikes, output_gradient, [None] * 6, sums)
    found = engine.weight_gradients(sums)
    for ours, theirs in zip([s for s in found if s is not None], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-8)
        assert theirs.abs().max() > 0


def test_losses_worked_out_by_hand():
    scores, classes = torch.tensor([[0.5, 0.0]]), torch.tensor([0])
    assert float(mse(scores, classes)) == pytest.approx(0.125)
    assert float(ce(scores, classes)) == pytest.approx(0.474077, abs=1e-6)
    assert score_gradient("mse", scores, classes)[1].tolist() == [[-0.5, 0.0]]
    # A confident input under MSE asks for no change at all: the first cause of vanishing.
    assert not score_gradient("mse", torch.tensor([[1.0, 0.0]]), classes)[1].any()


def test_micro_batch_changes_nothing_but_rounding(labelled):
    found = []
    for micro_batch in (3, 32):
        net = network()
        train(net, labelled, labelled, Training(updates=2, batch_size=32, micro_batch=micro_batch, dropout=0))
        found.append(weights(net))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_interrupted_training_ends_with_the_same_weights(labelled, tmp_path):
    settings = Training(updates=6, batch_size=32, validate_every=2)
    undisturbed = network()
    expected = train(undisturbed, labelled, labelled, settings)

    def stop(now):
        if now.update == 5:
            raise KeyboardInterrupt

    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(network(), labelled, labelled, settings, progress=stop, state=state)
    resumed = network()
    seen = []
    history = train(resumed, labelled, labelled, settings, progress=lambda now: seen.append(now.update), state=state)
    assert seen == [5, 6]
    assert history == expected
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(undisturbed), strict=True))


def test_state_of_another_training_is_refused(labelled, tmp_path):
    state = tmp_path / "state.safetensors"
    train(network(), labelled, labelled, Training(updates=1), state=state)
    with pytest.raises(SpikeflipError, match="unfinished training of another network, setting or data set"):
        train(network(), labelled, labelled, Training(updates=2), state=state)
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(SpikeflipError, match="is damaged"):
        train(network(), labelled, labelled, Training(updates=1), state=state)


@pytest.mark.parametrize("change", [{"time_steps": 5}, {"neuron": LIF(0.4, 0.25)}, {"coding": "latency"}])
def test_state_of_another_network_is_refused(labelled, tmp_path, change):
    state = tmp_path / "state.safetensors"
    train(network(), labelled, labelled, Training(updates=1), state=state)
    with pytest.raises(SpikeflipError, match="unfinished training of another network"):
        train(network(**change), labelled, labelled, Training(updates=1), state=state)


@pytest.mark.parametrize("update", ["abc", "1.5"])
def test_a_state_with_a_damaged_count(labelled, tmp_path, update):
    state = tmp_path / "state.safetensors"
    train(network(), labelled, labelled, Training(updates=1), state=state)
    with safe_open(state, "pt") as file:
        metadata = file.metadata() | {"update": update}
    save_file(load_file(state), state, metadata)
    with pytest.raises(SpikeflipError, match="is damaged"):
        train(network(), labelled, labelled, Training(updates=1), state=state)


def test_a_state_that_is_a_folder(labelled, tmp_path):
    with pytest.raises(SpikeflipError, match="is damaged"):
        train(network(), labelled, labelled, Training(updates=1), state=tmp_path)


def test_nothing_to_train_on(labelled):
    nothing = labelled[0][:0], labelled[1][:0]
    with pytest.raises(SpikeflipError, match="there are no training inputs: give at least one"):
        train(network(), nothing, labelled, Training(updates=1))


@pytest.mark.parametrize("engine", ["torch", "event"])
def test_a_network_that_ran_before_it_goes_on_forgets_its_old_weights(labelled, tmp_path, engine):
    settings = Training(updates=2, batch_size=16, dropout=0, widest_dropout=0, validate_every=1)
    state, undisturbed = tmp_path / "state.safetensors", network().on(engine)
    train(undisturbed, labelled, labelled, settings)

    def stop(now):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(network().on(engine), labelled, labelled, settings, progress=stop, state=state)
    resumed = network().on(engine)
    accuracy(resumed, *labelled)
    train(resumed, labelled, labelled, settings, state=state)
    for one, other in zip(weights(undisturbed), weights(resumed), strict=True):
        assert torch.equal(one, other)


def test_dropout_uses_no_global_random_state(labelled):
    before = torch.random.get_rng_state()
    train(network(), labelled, labelled, Training(updates=1))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"updates": 0}, "updates is 0"),
        ({"updates": 2.5}, "updates is 2.5: give a whole number"),
        ({"loss": "hinge"}, "loss is 'hinge': choose from mse, ce"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"dropout": 1}, "dropout is 1"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(SpikeflipError, match=message):
        Training(**options)


def test_wrong_labels_and_values(labelled):
    images, labels = labelled
    for data, message in [
        ((images, labels + 9), "label 1. is out of range: the network has classes 0 to 9"),
        ((images[:, :, :4], labels), r"inputs have shape \(80, 1, 4, 8\)"),
        ((images * 2, labels), "images hold the value"),
        ((images, labels[:3]), r"labels have shape \(3,\) for 80 inputs"),
    ]:
        with pytest.raises(SpikeflipError, match=message):
            train(network(), data, labelled, Training(updates=1))


def test_shifted_inputs_are_the_inputs_moved(some_spikes):
    values = some_spikes(40, 3, 2, 6, 5)
    rows = torch.arange(40)
    moved = shifted(values, 2, seed=0, rows=rows, update=7)
    found = set()
    for before, after in zip(values, moved, strict=True):
        places = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(after, _moved_by_hand(before, down, right))
        ]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 15  # of the 25 places
    assert torch.equal(moved[5:6], shifted(values[5:6], 2, seed=0, rows=rows[5:6], update=7))
    assert not torch.equal(moved, shifted(values, 2, seed=0, rows=rows, update=8))


def _moved_by_hand(frames, down, right):
    moved = torch.zeros_like(frames)
    height, width = frames.shape[-2:]
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                moved[..., y, x] = frames[..., y - down, x - right]
    return moved


def test_weights_are_scaled_until_the_asked_share_fires(some_spikes):
    net = SpikingNetwork("8C3-AP2-12C3-AP2-16FC-10FC", (2, 12, 12), time_steps=6, neuron=LIF(0.3, 0.3, "none"))
    spikes, classes = some_spikes(16, 6, 2, 12, 12, density=0.01), torch.zeros(16, dtype=torch.int64)
    silent, _ = net.engine.forward(spikes)
    assert not silent.any()
    tiny = Training(updates=1, batch_size=16, learning_rate=1e-12, dropout=0, widest_dropout=0, initial_rate=0.1)
    train(net, (spikes, classes), (spikes, classes), tiny)
    _, potentials = net.engine.forward(spikes)
    for layer, potential in zip(net.layers, potentials, strict=True):
        share = float((potential >= 0.3 * (1 - 1e-5)).float().mean())
        if not isinstance(layer, AvgPool):
            assert share == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(("name", "value"), [("shift", -1), ("initial_rate", 1.0), ("initial_rate", -0.1)])
def test_wrong_options_of_training_are_refused(name, value):
    with pytest.raises(SpikeflipError, match=f"{name} is {value}"):
        Training(**{name: value})


def test_sounds_cannot_be_shifted():
    net = SpikingNetwork("8FC-3FC", (20,), time_steps=4, neuron=LIF(0.3, 0.25))
    data = torch.zeros(2, 4, 20), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(SpikeflipError, match="have no rows to move"):
        train(net, data, data, Training(updates=1, shift=1))


def test_nothing_needs_to_be_held_out(labelled):
    none = labelled[0][:0], labelled[1][:0]
    history = train(network(), labelled, none, Training(updates=2, batch_size=8, validate_every=1))
    assert (history.update, history.validation_accuracy) == ([1, 2], [])


def test_the_first_share_of_the_updates_has_the_mean_squared_error(labelled):
    nothing = {"dropout": 0, "widest_dropout": 0, "batch_size": 16, "validate_every": 1}

    def losses(**options):
        return train(network(), labelled, labelled, Training(updates=4, **nothing, **options)).loss

    first = losses(loss="ce", mse_first=0.5)
    assert first[:2] == losses(loss="mse")[:2]
    assert all(0 < loss < 0.5 for loss in first[:2])
    assert all(1.4 < loss < 2.5 for loss in first[2:])  # CE of rates as logits is above 1.46
    assert losses(loss="ce", mse_first=0) == losses(loss="ce")


def test_images_may_be_coded_in_fewer_time_steps_while_training(labelled):
    def trained(time_steps, **options):
        net = network(time_steps=time_steps)
        train(net, labelled, labelled, Training(updates=3, batch_size=16, initial_share=0, **options))
        return weights(net)

    few = trained(2)
    assert all(map(torch.equal, trained(9, coding_steps=2), few))
    assert all(map(torch.equal, trained(2, coding_steps=9), few))  # at most the network's
    assert not all(map(torch.equal, trained(9), few))
    with pytest.raises(SpikeflipError, match="coding_steps is 0"):
        Training(coding_steps=0)
