"""A small victim, and runs of it that are compared byte for byte."""

from pathlib import Path

import numpy as np
import pytest

from spikeflip.cli.app import main
from spikeflip.data import Recording, write_recording

RESULTS = ("rows.parquet", "adversarials.safetensors", "outputs.safetensors", "trace.parquet", "summary.json")
OPTIONS = ["--samples", "6", "--target", "all", "--shard-size", "10", "--draws", "5", "--trace"]


@pytest.fixture(autouse=True)
def without_drawings(undrawn):
    """Runs end with their page, whose drawings nothing here looks at."""


@pytest.fixture(scope="session")
def small_victim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("victims") / "small"
    network = ["--network", "8C3-AP2-24FC-10FC", "--updates", "30", "--learning-rate", "0.01"]
    still = ["--dropout", "0", "--widest-dropout", "0", "--initial-rate", "0", "--validation", "200"]
    main(["train", *network, *still, "--out", str(folder), "--quiet"])
    return folder


@pytest.fixture(scope="session")
def command(small_victim):
    """The attack of this folder's tests: 54 rows in 6 shards."""
    return ["attack", "--victim", str(small_victim), *OPTIONS, "--quiet", "--out"]


@pytest.fixture(scope="session")
def undisturbed(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    main([*command, str(folder)])
    return folder


@pytest.fixture(scope="session")
def small_recordings(tmp_path_factory):
    """A victim that was trained on a few recordings, and their folder."""
    home, random = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for label, side in enumerate(("left", "right")):
        (home / "data" / side).mkdir(parents=True)
        for number in range(6):
            t, y = np.sort(random.integers(0, 40_000, 80)), random.integers(0, 8, 80)
            x = random.integers(0, 4, 80) + 4 * label
            recording = Recording.from_columns(t, x, y, random.integers(0, 2, 80), height=8, width=8)
            write_recording(recording, home / "data" / side / f"{number}.{('npz', 'bin')[number % 2]}")
    network = ["--network", "4C3-AP2-2FC", "--updates", "30", "--learning-rate", "0.02", "--batch-size", "8"]
    data = ["--data", str(home / "data"), "--time-steps", "6", "--sensor", "8x8", "--validation", "0"]
    still = ["--dropout", "0", "--widest-dropout", "0", "--initial-rate", "0.05"]
    main(["train", *network, *data, *still, "--out", str(home / "victim"), "--quiet"])
    return home / "victim", home / "data"


def bytes_of(folder: Path) -> dict[str, bytes]:
    """The results of a run, by the name of their file."""
    recordings = (folder / "adversarial").rglob("*") if (folder / "adversarial").exists() else ()
    files = [*(folder / name for name in RESULTS), *(path for path in recordings if path.is_file())]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.exists()}


@pytest.fixture(scope="session")
def results():
    return bytes_of
