import pytest

from spikeflip import SpikeflipError
from spikeflip.runs import run_training
from spikeflip.runs.config import TrainConfig
from spikeflip.runs.recipe import choose_recipe, held_out
from spikeflip.snn.training_settings import Training


@pytest.mark.parametrize(
    ("kind", "samples", "updates", "batch_size", "shift", "dropout"),
    [
        ("images", 1_442, 270, 64, 0, 0.1),  # 12 epochs
        ("images", 59_800, 375, 64, 0, 0.1),  # 24,000 samples
        ("simulated", 1_442, 586, 64, 1, 0.1),
        ("recordings", 1_000, 350, 40, 2, 0.15),
        ("recordings", 60_000, 400, 40, 2, 0.15),
        ("recordings", 10, 100, 10, 0, 0.15),  # at least 100 updates, all samples in each
    ],
)
def test_what_is_not_said_is_chosen_by_kind_and_number(kind, samples, updates, batch_size, shift, dropout):
    made = choose_recipe(TrainConfig(), kind, samples, 1).training
    assert (made.updates, made.batch_size, made.shift) == (updates, batch_size, shift)
    assert (made.dropout, made.widest_dropout) == (dropout, dropout)
    assert (made.learning_rate, made.relative_rate, made.initial_share) == (None, 0.05, 0.1)


@pytest.mark.parametrize(
    ("kind", "channels", "fan_in", "rate"),
    [
        ("recordings", 2, 6144, 0.05),  # the paper's networks at a quarter of their width
        ("images", 1, 6272, 0.05),
        ("images", 3, 8192, 0.02),
        ("recordings", 2, 24_576, 0.0253),  # and at all of it
        ("images", 1, 25_088, 0.025),
        ("images", 3, 32_768, 0.01),
    ],
)
def test_wide_networks_learn_at_a_lower_rate(kind, channels, fan_in, rate):
    made = choose_recipe(TrainConfig(), kind, 1_000, channels, fan_in)
    assert made.training.relative_rate == rate
    assert f"learning rate {rate:g} of the weights" in made.sentence(1_000)
    if kind == "images":
        twin = made.twin or choose_recipe(TrainConfig(twin=True), kind, 1_000, channels, fan_in).training
        assert twin.relative_rate == (0.03 if fan_in < 10_000 else 0.015)
    said = choose_recipe(TrainConfig(relative_rate=0.05), kind, 1_000, channels, fan_in)
    assert said.training.relative_rate == 0.05


def test_a_training_has_the_rate_of_its_network(tmp_path):
    config = TrainConfig(network="7000FC-10FC", updates=1, batch_size=4, test_samples=10)
    assert run_training(config, tmp_path / "victim").facts["recipe"]["relative_rate"] == 0.0473


def test_colour_images_are_coded_in_few_time_steps_while_training():
    made = choose_recipe(TrainConfig(), "images", 50_000, 3)
    assert (made.training.coding_steps, made.twin.coding_steps) == (4, None)
    assert "images coded in at most 4 time steps" in made.sentence(50_000)
    assert choose_recipe(TrainConfig(coding_steps=9), "images", 50_000, 3).training.coding_steps == 9
    for other in (TrainConfig(coding="latency"), TrainConfig(twin=True)):
        assert choose_recipe(other, "images", 50_000, 3).training.coding_steps is None
    assert choose_recipe(TrainConfig(), "images", 50_000, 1).training.coding_steps is None


@pytest.mark.parametrize(
    ("kind", "options"),
    [("recordings", {}), ("simulated", {}), ("images", {"coding": "latency"}), ("images", {"twin": True})],
)
def test_only_rate_coded_images_have_coding_steps(kind, options):
    with pytest.raises(SpikeflipError, match="--coding-steps 3 is for images that are coded by rate"):
        choose_recipe(TrainConfig(coding_steps=3, **options), kind, 1_000, 1)


GIVEN = {
    "loss": "ce",
    "mse_first": 0.25,
    "updates": 7,
    "batch_size": 5,
    "learning_rate": 0.01,
    "dropout": 0.3,
    "widest_dropout": 0.4,
    "shift": 1,
    "initial_rate": 0.02,
    "seed": 9,
    "micro_batch": 3,
    "validate_every": 2,
}


def test_what_is_said_stays():
    made = choose_recipe(TrainConfig(**GIVEN), "recordings", 1_000, 2).training
    assert made == Training(**GIVEN, initial_share=0)
    assert choose_recipe(TrainConfig(relative_rate=0.2, initial_share=0), "images", 9, 1).training.relative_rate == 0.2


def test_ce_begins_with_mse_but_for_twins_and_where_it_is_said():
    assert choose_recipe(TrainConfig(loss="ce"), "recordings", 1_000, 2).training.mse_first == 0.6
    assert choose_recipe(TrainConfig(loss="ce", mse_first=0), "recordings", 1_000, 2).training.mse_first == 0
    assert choose_recipe(TrainConfig(loss="ce", twin=True), "images", 1_000, 1).training.mse_first == 0
    assert choose_recipe(TrainConfig(), "images", 1_000, 1).training.mse_first == 0
    said = choose_recipe(TrainConfig(loss="ce"), "images", 1_000, 1).sentence(1_000)
    assert said.endswith("initial share 0.1, mse for the first 60%")


def test_a_batch_size_keeps_the_number_of_samples_seen():
    assert choose_recipe(TrainConfig(batch_size=32), "images", 60_000, 1).training.updates == 750


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"learning_rate": 0.1, "relative_rate": 0.2},
            "--learning-rate 0.1 and --relative-rate 0.2 exclude each other",
        ),
        ({"initial_rate": 0, "initial_share": 0.1}, "--initial-rate 0 and --initial-share 0.1 exclude"),
    ],
)
def test_options_that_exclude_each_other(options, message):
    with pytest.raises(SpikeflipError, match=message):
        choose_recipe(TrainConfig(**options), "images", 100, 1)


def test_colour_images_begin_with_a_twin_unless_they_begin_with_something_else(tmp_path):
    recipe = choose_recipe(TrainConfig(seed=3, micro_batch=8), "images", 50_000, 3)
    assert recipe.twin is not None
    assert (recipe.twin.loss, recipe.twin.seed, recipe.twin.micro_batch) == ("ce", 3, 8)
    assert (recipe.twin.updates, recipe.twin.shift, recipe.twin.relative_rate) == (1562, 2, 0.03)
    assert (recipe.training.updates, recipe.training.shift, recipe.training.relative_rate) == (2700, 2, 0.02)
    assert "a ReLU twin for" in recipe.sentence(50_000)
    assert recipe.as_json()["twin"]["loss"] == "ce"
    for options in ({"start": tmp_path}, {"twin": True}):
        assert choose_recipe(TrainConfig(**options), "images", 50_000, 3).twin is None
    assert choose_recipe(TrainConfig(), "images", 50_000, 1).twin is None
    assert choose_recipe(TrainConfig(twin_first=False), "images", 50_000, 3).twin is None
    assert choose_recipe(TrainConfig(), "recordings", 50_000, 3).twin is None


def test_the_sentence_holds_every_choice():
    config = TrainConfig(updates=1234, batch_size=8, dropout=0.3, widest_dropout=0.4, shift=2, initial_share=0.2)
    assert choose_recipe(config, "images", 5_000, 1).sentence(5_000) == (
        "recipe for 5,000 samples: 1,234 updates of 8, learning rate 0.05 of the weights, dropout 0.3 and 0.4, "
        "shift 2, initial share 0.2"
    )
    said = choose_recipe(TrainConfig(learning_rate=0.002, initial_rate=0.02), "images", 5_000, 1).sentence(5_000)
    assert "learning rate 0.002," in said
    assert said.endswith("initial rate 0.02")


@pytest.mark.parametrize(("samples", "expected"), [(4_999, 0), (5_000, 200)])
def test_few_samples_are_all_trained_on(samples, expected):
    assert held_out(TrainConfig(), samples) == expected
    assert held_out(TrainConfig(validation=7), samples) == 7
    with pytest.raises(SpikeflipError, match=f"--validation is {samples} of {samples} samples"):
        held_out(TrainConfig(validation=samples), samples)
    with pytest.raises(SpikeflipError, match="there are no training inputs"):
        held_out(TrainConfig(), 0)


def test_weights_that_fire_as_they_are_given_are_not_scaled():
    def share(**options):
        return choose_recipe(TrainConfig(**options), "images", 500, 1, spiking_start=True).training.initial_share

    assert (share(), share(initial_share=0.2)) == (0, 0.2)


def test_a_twin_has_no_firing_to_begin_with():
    said = choose_recipe(TrainConfig(twin=True), "images", 500, 1).sentence(500)
    assert said.endswith("shift 0")
