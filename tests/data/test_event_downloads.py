"""Downloads of event data sets: by tonic where it is installed, silently and once, else in one line."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from event_sets import cifar10dvs, refused, write

from spikeflip.data import load_event_set
from spikeflip.data.event_layouts import OFFICIAL


@pytest.fixture
def tonic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A tonic without data sets; tests put theirs in."""
    package, datasets = ModuleType("tonic"), ModuleType("tonic.datasets")
    monkeypatch.setitem(sys.modules, "tonic", package)
    monkeypatch.setitem(sys.modules, "tonic.datasets", datasets)
    return datasets


def test_tonic_downloads_what_is_missing_silently_and_once(tmp_path: Path, tonic: Any, capfd: Any) -> None:
    calls = []

    def fetch_nmnist(save_to: str, train: bool) -> None:
        calls.append(train)
        sys.stderr.write("0 %")
        sys.stdout.write("done")
        write(Path(save_to) / "NMNIST" / ("Train" if train else "Test") / "4" / "1.bin")

    def fetch_gestures(save_to: str, train: bool) -> None:
        folder = Path(save_to) / "DVSGesture" / ("ibmGestureTrain" if train else "ibmGestureTest") / "user01_led"
        folder.mkdir(parents=True)
        np.save(folder / "3.npy", np.array([[1, 2, 0, 7]]))

    tonic.NMNIST, tonic.DVSGesture = fetch_nmnist, fetch_gestures
    tonic.CIFAR10DVS = lambda save_to: cifar10dvs(Path(save_to) / "CIFAR10DVS", 10)
    root = tmp_path / "new"
    for split in ("train", "test", "train"):
        assert load_event_set("nmnist", split, root=root, download=True).labels.tolist() == [4]
    assert calls == [True, False]
    assert load_event_set("dvsgesture", "train", root=root, download=True).labels.tolist() == [3]
    assert load_event_set("cifar10dvs", root=root, download=True).labels.tolist() == list(range(10))
    assert capfd.readouterr() == ("", "")


def test_download_without_tonic_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    message = refused("nmnist", root=tmp_path, download=True)
    assert message == "downloading event data sets needs tonic (GPL-3.0): pip install tonic"


def test_a_failed_or_fruitless_download_is_one_line(tmp_path: Path, tonic: Any) -> None:
    def fail(save_to: str) -> None:
        raise RuntimeError("File not found\nor corrupted.")

    tonic.CIFAR10DVS = fail
    message = refused("cifar10dvs", root=tmp_path, download=True)
    assert "CIFAR10-DVS could not be downloaded" in message
    assert "(File not found or corrupted.)" in message
    tonic.NMNIST = lambda save_to, train: None
    assert "no test recordings of N-MNIST" in refused("nmnist", root=tmp_path, download=True)
    assert "no test recordings of N-MNIST" in refused("nmnist", root=tmp_path / "absent", download=True)


def test_the_real_tonic_has_the_classes_and_arguments_that_are_called() -> None:
    import inspect

    datasets = pytest.importorskip("tonic.datasets")
    for official in OFFICIAL.values():
        parameters = inspect.signature(getattr(datasets, official.tonic)).parameters
        assert "save_to" in parameters
        assert ("train" in parameters) == official.split_by_tonic
