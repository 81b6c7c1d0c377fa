import math

import pytest
import torch

from spikeflip import LIF, SpikingNetwork
from spikeflip.snn.firing import Firing, LayerFiring
from spikeflip.snn.training import Training, train
from spikeflip.snn.watch import Seen, Watch, expected_right


def fires(silent_samples):
    return Firing(
        (LayerFiring("1 (8FC)", 0.1, 0.2, 0.0), LayerFiring("2 (3FC)", 1 - silent_samples, 0, silent_samples))
    )


class Bench:
    """A watch over one weight, which each update raises by 1."""

    def __init__(self, updates=1000, chance=0.1, at_start=0.0, **options):
        self.weight = torch.zeros(1)
        self.scaled = 0
        self.silent = at_start
        optimiser = torch.optim.Adam([self.weight])
        initial = [self.weight.clone()]
        self.watch = Watch(
            [self.weight], initial, optimiser, updates, chance, lambda: fires(self.silent), self.scale, **options
        )
        self.watch.begin(0)
        self.update = 0

    def scale(self):
        self.scaled += 1
        self.silent = 0.0

    def train(self, updates=10, silent=0, right=9, n=10, keep=False):
        for _ in range(updates):
            self.update += 1
            self.weight += 1
            self.watch.saw(Seen(0.1, right, silent, n))
        self.watch.look(self.update, keep=keep)
        return self.watch


@pytest.mark.parametrize(("silent", "back"), [(9, False), (10, True)])
def test_a_silent_network_goes_back_to_where_it_fired_with_a_lower_rate(silent, back):
    bench = Bench()
    bench.train()
    watch = bench.train(silent=silent)
    assert float(bench.weight) == (10 if back else 20)
    assert watch.factor == (0.25 if back else 1)
    assert [notice.code for notice in watch.notices] == (["training-cured"] if back else [])
    if back:
        assert "layer 2 (3FC) fell silent, so that 100% of the samples had no output spike" in watch.notices[0].text
        assert "went back to update 10 with 0.25 times the learning rate" in watch.notices[0].text
        assert watch.notices[0].figure == 20
    assert bench.scaled == 0


def test_a_state_that_hardly_fires_is_not_gone_back_to_unless_it_is_saved():
    for keep, expected in ((False, 10), (True, 20)):
        bench = Bench()
        bench.train()
        bench.train(silent=6, keep=keep)
        bench.train(silent=10)
        assert float(bench.weight) == expected


def test_weights_are_scaled_where_the_good_state_hardly_fires():
    bench = Bench(at_start=0.6)
    watch = bench.train(silent=10)
    assert bench.scaled == 1
    assert "scaled the weights until every layer fires" in watch.notices[0].text
    assert watch.firing.output.silent_samples == 0


def test_weights_that_are_no_numbers_are_put_back():
    bench = Bench()
    bench.train()
    bench.weight += math.nan
    watch = bench.train()
    assert float(bench.weight) == 10
    assert "the weights are no finite numbers any more" in watch.notices[0].text


def test_it_gives_up_after_four_cures():
    bench = Bench()
    for _ in range(4):
        assert not bench.train(silent=10).gave_up
    watch = bench.train(silent=10)
    assert watch.gave_up
    assert watch.factor == 0.25**4
    assert watch.notices[-1].code == "training-gave-up"
    assert "stopped at update 50" in watch.notices[-1].text
    assert "4 cures did not help; try a lower learning rate" in watch.notices[-1].text
    again = Bench().watch
    again.restore(watch.state())
    assert again.gave_up


def test_a_state_that_was_gone_back_to_is_that_of_the_update_from_then_on():
    bench = Bench()
    bench.train()
    bench.train(silent=10)
    watch = bench.train(silent=10)
    assert float(bench.weight) == 10
    assert [notice.text.split("went back to ")[1][:9] for notice in watch.notices] == ["update 10", "update 20"]


def test_one_silent_batch_is_no_silence():
    bench = Bench()
    assert not bench.train(updates=9, silent=10).notices
    assert bench.train(updates=1, silent=10).notices


@pytest.mark.parametrize(
    ("quarter", "right", "n", "lowered"),
    [
        (2, 1, 10, True),  # a tenth right, of 2,500
        (2, 2, 10, False),
        (2, 1, 1, False),  # 250 samples are too few to tell
        (1, 1, 10, False),  # it has just begun
        (3, 1, 10, True),
        (4, 1, 10, False),  # it is over
    ],
)
def test_a_quarter_that_taught_nothing_is_followed_by_a_new_beginning(quarter, right, n, lowered):
    bench = Bench(updates=1000)
    bench.watch.restart = lambda: bench.weight.zero_()
    for _ in range(quarter - 1):
        bench.train(updates=250)
    watch = bench.train(updates=250, right=right, n=n)
    assert (watch.factor == 0.25) == lowered
    assert float(bench.weight) == (0 if lowered else 250 * quarter)
    assert [notice.code for notice in watch.notices] == (["training-at-chance"] if lowered else [])


@pytest.mark.parametrize(
    ("at", "met", "revived"),
    [
        (20, {0, 1}, [[2]]),
        (20, {0, 1, 2}, []),
        (10, {0, 1}, []),  # too early to tell
        (700, {0, 1}, [[2]]),
        (720, {0, 1}, []),  # too late to learn
    ],
)
def test_an_output_that_never_fires_though_its_class_was_there_gets_new_weights(at, met, revived):
    bench = Bench(updates=1000)
    asked = []
    bench.watch.revive = asked.append
    bench.watch.optimiser.state[bench.weight] = {name: torch.ones(3) for name in ("exp_avg", "exp_avg_sq")}
    for update in range(1, at + 1):
        lately = update > at - 20
        bench.watch.saw(Seen(0.1, 9, 0, 10, frozenset({0, 2}) - met, frozenset(met)) if lately else Seen(0.1, 9, 0, 10))
        if update % 10 == 0:
            bench.watch.look(update, keep=False)
    assert asked == revived
    moments = bench.watch.optimiser.state[bench.weight]["exp_avg"].tolist()
    assert moments == ([1, 1, 0] if revived else [1, 1, 1])
    assert [notice.text for notice in bench.watch.notices] == [
        f"update {at}: output 2 had not fired for 20 updates and got new weights" for _ in revived
    ]


def test_outputs_that_fall_silent_a_second_time_are_a_reason_to_begin_anew():
    bench = Bench(updates=1000)
    bench.watch.revive, bench.watch.restart = lambda dead: None, lambda: bench.weight.fill_(-5)
    bench.watch.optimiser.state[bench.weight] = {name: torch.ones(3) for name in ("exp_avg", "exp_avg_sq")}
    for update in range(1, 41):
        bench.watch.saw(Seen(0.1, 9, 0, 10, frozenset({2})))
        if update % 10 == 0:
            bench.watch.look(update, keep=False)
    assert bench.watch.factor == 0.25
    assert float(bench.weight) == -5
    assert bench.watch.notices[1].text == (
        "update 40: output 2 had not fired for 20 updates and training began anew with 0.25 times the learning rate"
    )


def test_what_it_counted_goes_over_an_interruption():
    one, other = Bench(), Bench()
    for bench in (one, other):
        bench.train(silent=10)
        bench.watch.saw(Seen(0.1, 3, 2, 10, frozenset({4}), frozenset({1})))
    assert one.watch.state()["missed"] == [4]
    other = Bench()
    other.watch.restore(one.watch.state())
    assert one.watch.state() == other.watch.state()
    assert (other.watch.factor, len(other.watch.notices)) == (0.25, 1)


def bars():
    """Eight classes that a network of one layer tells apart: which row fires."""
    labels = torch.arange(80) % 8
    spikes = torch.zeros(80, 4, 1, 8, 8)
    spikes[torch.arange(80), :, :, labels] = 1
    return spikes, labels


def network(engine="torch"):
    return SpikingNetwork("32FC-32FC-8FC", (1, 8, 8), time_steps=4, neuron=LIF(0.3, 0.3)).on(engine)


KILLS = {"batch_size": 20, "learning_rate": 1, "dropout": 0, "widest_dropout": 0}


@pytest.mark.parametrize("engine", ["torch", "event"])
def test_a_rate_that_kills_is_lowered_until_the_network_learns(engine):
    net = network(engine)
    history = train(net, bars(), bars(), Training(updates=200, **KILLS))
    assert "training-cured" in {notice.code for notice in history.notices}
    # Without the cures one class of eight is right, or none.
    assert history.validation_accuracy[-1] >= 0.5


def test_a_cured_training_ends_with_the_same_weights_when_it_is_interrupted(tmp_path):
    settings = Training(updates=150, validate_every=25, **KILLS)
    whole = network()
    expected = train(whole, bars(), bars(), settings)
    assert expected.notices
    for stop_at in (51, 76, 101):

        def stop(now, stop_at=stop_at):
            if now.update == stop_at:
                raise KeyboardInterrupt

        state = tmp_path / f"{stop_at}.safetensors"
        with pytest.raises(KeyboardInterrupt):
            train(network(), bars(), bars(), settings, progress=stop, state=state)
        resumed = network()
        with torch.no_grad():
            resumed.weights[0].zero_()  # whatever it holds, the state has what training began with
        assert train(resumed, bars(), bars(), settings, state=state) == expected
        assert all(map(torch.equal, resumed.weights, whole.weights))


def test_a_training_that_nothing_helps_stops_and_says_so(tmp_path):
    def mute():
        net = network()
        with torch.no_grad():
            net.weights[-1].copy_(-net.weights[-1].abs())  # no factor makes the output fire
        return net

    settings = Training(updates=200, batch_size=20, learning_rate=1e-9, initial_share=0, validate_every=25)
    history = train(mute(), bars(), bars(), settings)
    assert history.notices[-1].code == "training-gave-up"
    assert sum("went back to update" in notice.text for notice in history.notices) == 4
    assert history.update[-1] < 200

    def stop(now):
        if now.update == 26:
            raise KeyboardInterrupt

    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(mute(), bars(), bars(), settings, progress=stop, state=state)
    assert train(mute(), bars(), bars(), settings, state=state) == history
    assert train(mute(), bars(), bars(), settings, state=state) == history  # it is over


@pytest.mark.parametrize(("chance", "anew"), [(0.5, True), (0.7, False)])
def test_where_one_class_is_most_of_the_samples_an_accuracy_of_chance_is_not_told(chance, anew):
    bench = Bench(updates=1000, chance=chance)
    bench.train(updates=250)
    assert bool(bench.train(updates=250, right=4).notices) == anew


def test_scores_that_are_no_numbers_are_never_right():
    assert expected_right(torch.full((2, 3), math.nan), torch.tensor([0, 1])) == 0


def test_firing_is_in_progress_and_history():
    seen = []
    history = train(network(), bars(), bars(), Training(updates=20, batch_size=20), progress=seen.append)
    assert all(now.firing is not None for now in seen)
    assert history.looked == [10, 20]
    assert history.silent_neurons[-1] == [round(layer.silent_neurons, 4) for layer in seen[-1].firing.layers]
    assert history.silent_samples[-1] == [round(layer.silent_samples, 4) for layer in seen[-1].firing.layers]
