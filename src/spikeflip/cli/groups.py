"""The groups of options in a command's help, in the order in which they are shown."""

from cyclopts import Group

from spikeflip.runs.config import CallingConfig, DataConfig, Execution, TrainConfig

VICTIM = Group("Victim", sort_key=1)
DATA = Group("Data", sort_key=2)
ATTACK = Group("Attack", sort_key=3)
TRAINING = Group("Training", sort_key=3)
ADVERSARIAL = Group("Adversarial training", sort_key=4)
OWN_MODEL = Group("A model of your own", sort_key=6)
EXECUTION = Group("Execution", sort_key=7)
OUTPUT = Group("Output", sort_key=8)

_MEMBERS = {
    VICTIM: ("victim", "defence", "network", "width", "twin", "coding", "loss", "firing_threshold", "start"),
    OWN_MODEL: (*CallingConfig.model_fields, "bins", "time_bin"),
    DATA: (*DataConfig.model_fields, "input", "label", "split", "samples", "per_class", "size", "bins", "time_bin"),
    ADVERSARIAL: tuple(name for name in TrainConfig.model_fields if name.startswith("adversarial")),
    EXECUTION: (*Execution.model_fields, "device", "engine", "precision", "micro_batch", "shard_size"),
    OUTPUT: ("out", "trace", "card"),
}
"""By group; what is in none of them is about the training or the attack itself."""


def group_of(option: str, kind: type) -> Group:
    """The group of an option of a configuration; bins are of the data where a victim is trained."""
    trained = issubclass(kind, TrainConfig)
    members = dict(_MEMBERS)
    if trained:
        members[DATA] = (*members[DATA], "time_steps")
        del members[OWN_MODEL]
    found = (group for group, names in members.items() if option in names)
    return next(found, TRAINING if trained else ATTACK)
