import json

import pytest
import torch

from spikeflip import LIF, SpikingNetwork
from spikeflip.notices import Notice
from spikeflip.runs.outcome import judge_training
from spikeflip.snn.training_state import History


def copies(classes=4):
    """Output k fires when input k does: right for inputs of one spike at their class."""
    net = SpikingNetwork(f"{classes}FC-{classes}FC", (classes,), time_steps=4, neuron=LIF(0.5, 0.0))
    with torch.no_grad():
        for weight in net.weights:
            weight.copy_(torch.eye(classes))
    return net


def inputs(right, wrong, classes=4):
    """So many inputs of each class in turn that the network above says right, then so many that it says wrong."""
    labels = torch.arange(right + wrong) % classes
    spikes = torch.zeros(right + wrong, 4, classes)
    said = torch.where(torch.arange(right + wrong) < right, labels, (labels + 1) % classes)
    spikes[torch.arange(right + wrong), :, said] = 1
    return spikes, labels


NONE = inputs(0, 0)


def judged(trained, test, network=None, history=None):
    return judge_training(network or copies(), trained, test, history or History(), seed=0)


@pytest.mark.parametrize(
    ("right", "wrong", "learned"),
    [(40, 0, True), (16, 24, True), (15, 25, False), (10, 30, False), (0, 40, False)],
)
def test_learned_is_above_chance_beyond_the_interval(right, wrong, learned):
    # Chance is 25 %; the 95 % Wilson interval of 16 of 40 begins at 26.3 %, that of 15 of 40 at 24.2 %.
    outcome = judged(inputs(40, 0), inputs(right, wrong))
    assert (outcome.learned, outcome.chance, outcome.accuracy, outcome.accuracy_n) == (learned, 0.25, right / 40, 40)
    assert [notice.code for notice in outcome.notices] == ([] if learned else ["not-learned"])
    if not learned:
        assert outcome.notices[0].figure == right / 40
        assert f"{right / 40:.1%} of 40 test inputs are right" in outcome.notices[0].text
        assert "is right for 25.0%" in outcome.notices[0].text


def test_training_samples_tell_where_test_inputs_are_few_or_missing():
    assert judged(inputs(40, 0), NONE).learned
    assert judged(inputs(40, 0), NONE).accuracy is None
    assert not judged(inputs(10, 30), NONE).learned
    assert "25.0% of 40 training samples" in judged(inputs(10, 30), NONE).notices[0].text
    assert judged(inputs(40, 0), inputs(1, 1)).learned  # of two test inputs, nothing could be beyond chance
    assert judged(inputs(10, 30), inputs(8, 0)).learned


def test_chance_is_the_most_frequent_class_of_the_samples_that_tell():
    spikes, labels = inputs(40, 0)
    labels[:35] = 0
    spikes.zero_()[:, :, 0] = 1
    outcome = judged((spikes, labels), NONE)
    assert outcome.chance == 0.9  # 35, and one of the last five
    assert (outcome.training_accuracy, outcome.learned) == (0.9, False)
    # A network that always says 0 is right for test inputs of that class alone, and has learned nothing.
    net = copies()
    with torch.no_grad():
        net.weights[1].zero_()[0] = 1
    of_one_class = torch.zeros(40, dtype=torch.int64)
    outcome = judged(inputs(40, 0), (inputs(40, 0)[0], of_one_class), net)
    assert (outcome.accuracy, outcome.learned) == (1.0, False)
    assert "all of these are of one class" in outcome.notices[-1].text


def test_one_class_to_train_on_teaches_nothing():
    spikes, labels = torch.zeros(40, 4, 4), torch.zeros(40, dtype=torch.int64)
    spikes[:, :, 0] = 1
    outcome = judged((spikes, labels), NONE)
    assert (outcome.training_accuracy, outcome.learned) == (1.0, False)


def test_a_silent_layer_is_named_with_what_helps():
    net = copies()
    with torch.no_grad():
        net.weights[1].zero_()
    outcome = judged(inputs(40, 0), inputs(40, 0), net)
    assert [notice.code for notice in outcome.notices] == ["silent-layer", "not-learned"]
    assert "in layer 2 (4FC) 100% of the neurons never fire" in outcome.notices[0].text
    assert outcome.notices[0].figure == 1
    assert "layer 2 (4FC) never fires: try a lower learning rate" in outcome.notices[1].text


def test_cures_that_did_not_help_are_mentioned():
    history = History(notices=[Notice("training-cured", "went back")])
    assert "the cures that training tried did not help" in judged(inputs(10, 30), NONE, history=history).notices[0].text


def test_it_can_be_written():
    facts = json.loads(json.dumps(judged(inputs(40, 0), inputs(16, 24)).as_json()))
    assert facts["learned"] is True
    assert (facts["accuracy"], facts["accuracy_n"]) == (0.4, 40)
    assert (facts["training_accuracy"], facts["training_accuracy_n"]) == (1.0, 40)
    assert [layer["layer"] for layer in facts["firing"]] == ["1 (4FC)", "2 (4FC)"]
