"""Event data sets: N-MNIST, DVS128 Gesture, CIFAR10-DVS and folders of recordings, as users have them on disk."""

import contextlib
import importlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path

from spikeflip.data.event_folders import load_folder
from spikeflip.data.event_layouts import OFFICIAL, Official
from spikeflip.data.event_set import EventSet, event_set, given_size, size_text
from spikeflip.errors import SpikeflipError

logger = logging.getLogger(__name__)

#: The event data sets by name: size, layout, licence and whom to cite.
EVENT_SETS: Mapping[str, str] = {
    "nmnist": "60,000 + 10,000 recordings of digits, 34x34, files in NMNIST/Train and NMNIST/Test; CC BY-SA 4.0 "
    "(G. Orchard et al., Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades, 2015)",
    "dvsgesture": "DVS128 Gesture, 98 + 24 recordings of 11 gestures each, 128x128, files in DvsGesture; CC BY 4.0 "
    "(A. Amir et al., A Low Power, Fully Event-Based Gesture Recognition System, 2017)",
    "cifar10dvs": "10,000 recordings of CIFAR-10 images, 128x128, 10 class folders in CIFAR10DVS, our fixed split; "
    "licence: see its authors' page (H. Li et al., CIFAR10-DVS: An Event-Stream Dataset for Object Classification, "
    "2017)",
}


def load_event_set(
    name_or_folder: str | Path,
    split: str = "test",
    *,
    root: Path | str | None = None,
    download: bool = False,
    height: int | None = None,
    width: int | None = None,
    columns: str | None = None,
    time_unit: str | None = None,
) -> EventSet:
    """Find the recordings of one split of an event data set; what is there of it is taken, and counted in ``source``.

    * ``nmnist``: ``root/NMNIST/{Train,Test}/<digit>/<number>.bin``, with or without ``NMNIST``.
    * ``dvsgesture``: ``root/DvsGesture/`` (or root) with ``user*.aedat``, ``user*_labels.csv`` and
      ``trials_to_{train,test}.txt``, else tonic's ``root/DVSGesture/ibmGesture{Train,Test}/user*/<label>.npy``.
    * ``cifar10dvs``: ``root/CIFAR10DVS/<class>/*.aedat`` (or root, or ``.aedat4``, as tonic has them); every tenth
      recording of a class is a test recording.
    * a folder: ``{train,test}/<class>/<recording>``, else ``<class>/<recording>``, of which every fifth of a class, in
      natural order, is a test recording. Its sensor is that of the first recording of each class.

    Args:
        name_or_folder: key of ``EVENT_SETS``, or a folder (always a folder if a ``Path``).
        split: ``"train"`` or ``"test"``.
        root: folder that holds the folders above; not used for a folder of recordings.
        download: let tonic fetch a named set that is not under ``root``.
        height: rows of the sensor of a folder's recordings, where they do not say or differ.
        width: columns of the sensor, likewise; give both or neither.
        columns: what the columns of a folder's text files are; see :func:`spikeflip.read_recording`.
        time_unit: of their times, likewise.

    Returns:
        The clips with their labels, class names, sensor, and where they came from.

    Raises:
        SpikeflipError: the name or split is unknown, the files are missing, damaged or of different sensors, or cannot
            be downloaded.

    >>> import tempfile
    >>> from spikeflip.data import Recording, write_recording
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("wave/1.npz", "wave/2.npz", "wave/3.npz", "wave/4.npz", "wave/10.npz", "clap/1.npz"):
    ...         (Path(folder) / name).parent.mkdir(exist_ok=True)
    ...         recording = Recording.from_columns([0, 5], [1, 2], [3, 4], [0, 1], height=8, width=8)
    ...         _ = write_recording(recording, Path(folder) / name)
    ...     test = load_event_set(folder, "test")
    ...     [clip.name for clip in test.clips], test.labels, test.classes, len(test.read(0))
    (['wave/10.npz'], tensor([1]), ('clap', 'wave'), 2)
    """
    if split not in ("train", "test"):
        raise SpikeflipError(f"unknown split {split!r} of {name_or_folder}: choose train or test")
    size = given_size(height, width)
    if isinstance(name_or_folder, str) and name_or_folder in OFFICIAL:
        if columns is not None or time_unit is not None:
            raise SpikeflipError(f"{name_or_folder} has no text files: leave out --columns and --time-unit")
        return _load_official(name_or_folder, split, root, download, size)
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        raise SpikeflipError(
            f"{str(name_or_folder)!r} is neither an event data set ({', '.join(EVENT_SETS)}) nor a folder: choose one "
            "of these, or give a folder of recordings with one sub-folder a class"
        )
    return load_folder(folder, split, size, columns, time_unit)


def _load_official(
    name: str, split: str, root: Path | str | None, download: bool, size: tuple[int, int] | None
) -> EventSet:
    official = OFFICIAL[name]
    if size not in (None, (official.height, official.width)):
        raise SpikeflipError(
            f"{official.title} is of {size_text((official.height, official.width))} pixels, not {size_text(size)}: "
            "leave out --sensor (height=, width=)"
        )
    if root is None:
        raise SpikeflipError(f"{name} is read from files and no root was given: add --root DIR (root=...)")
    folder = Path(root).expanduser()
    if not folder.is_dir() and (folder.exists() or not download):
        raise SpikeflipError(
            f"the root {folder} is not a folder: give an existing one with --root DIR, or add --download"
        )
    contents = official.find(folder, split) if folder.is_dir() else None
    if contents is None and download:
        _download(official, folder, split)
        contents = official.find(folder, split)
    if contents is None:
        raise SpikeflipError(
            f"{folder} has no {split} recordings of {official.title} (looked for {official.looked_for}): give another "
            "--root DIR, or add --download"
        )
    return event_set(name, split, contents, official.classes, (official.height, official.width))


def _download(official: Official, root: Path, split: str) -> None:
    """Run tonic's download, silently."""
    try:
        fetch = getattr(importlib.import_module("tonic.datasets"), official.tonic)
    except ImportError as error:
        raise SpikeflipError("downloading event data sets needs tonic (GPL-3.0): pip install tonic") from error
    logger.info("downloading %s to %s", official.title, root)
    options = {"train": split == "train"} if official.split_by_tonic else {}
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            fetch(save_to=str(root), **options)
    except Exception as error:  # whatever urllib, tarfile or zipfile raise: to the user it is one thing
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpikeflipError(
            f"{official.title} could not be downloaded to {root} ({reason}): check the network, or put its files there "
            "by hand"
        ) from error
