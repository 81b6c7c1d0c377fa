"""Image data sets: scikit-learn's digits, MNIST and CIFAR-10, read with checks from the files users have on disk."""

import contextlib
import functools
import hashlib
import io
import logging
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.showing import Shown

logger = logging.getLogger(__name__)

#: The image data sets by name: size, where they come from, licence and whom to cite.
IMAGE_SETS: Mapping[str, str] = {
    "digits": "1,442 + 355 grey 8x8 digits, bundled with scikit-learn, our fixed split; CC BY 4.0 (E. Alpaydin and "
    "C. Kaynak, UCI Optical Recognition of Handwritten Digits, 1998)",
    "mnist": "60,000 + 10,000 grey 28x28 digits, files in MNIST/raw; CC BY-SA 3.0 (Y. LeCun, C. Cortes)",
    "cifar10": "50,000 + 10,000 colour 32x32 images of 10 classes, files in cifar-10-batches-bin or -py; "
    "no licence stated (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009)",
}

_CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR10_RECORD = 1 + 3 * 32 * 32
_Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet(Shown):
    """One split of an image data set, in memory.

    Attributes:
        name: key of ``IMAGE_SETS``.
        split: ``"train"`` or ``"test"``.
        images: ``(N, C, H, W)`` float32 in [0, 1].
        labels: ``(N,)`` int64, indices into ``classes``.
        classes: class names.
        source: one line: where the images came from and how many of the official ones they are.
        sha256: of the original pixel bytes in ``(N, C, H, W)`` order followed by one byte a label.
    """

    name: str
    split: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    source: str
    sha256: str

    def __len__(self) -> int:
        return len(self.labels)

    def _shown(self) -> tuple[str, dict[str, str], tuple[str, ...]]:
        low_high = f", from {self.images.min():g} to {self.images.max():g}" if self.images.numel() else ""
        return (
            f"ImageSet {self.name} of {len(self):,} inputs",
            {
                "split": self.split,
                "images": f"{tuple(self.images.shape)}{low_high}",
                "classes": ", ".join(self.classes),
                "source": self.source,
            },
            (),
        )


def load_images(name: str, split: str = "test", *, root: Path | str | None = None, download: bool = False) -> ImageSet:
    """Load one split of an image data set into memory.

    * ``digits``: needs no files; every fifth image of a class, in scikit-learn's order, is a test image. The same
      writers are on both sides of that split.
    * ``mnist``: ``root/MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte``, torchvision's layout.
    * ``cifar10``: ``root/cifar-10-batches-bin`` (the "binary version"; batches may be missing or short, and ``source``
      then says how many images there were), else ``root/cifar-10-batches-py`` (through torchvision, which checks the
      md5 before it unpickles).

    Args:
        name: ``"digits"``, ``"mnist"`` or ``"cifar10"``.
        split: ``"train"`` or ``"test"``.
        root: folder that holds the folders above; not used for digits.
        download: let torchvision fetch or unpack what is missing under ``root``; files already there are used.

    Returns:
        The images ``(N, C, H, W)`` float32 in [0, 1], labels ``(N,)`` int64, class names and where they came from.

    Raises:
        SpikeflipError: if the name or split is unknown, or the files are missing, damaged or cannot be downloaded.

    Example:
        >>> digits = load_images("digits", "test")
        >>> len(digits), digits.images.shape, digits.classes[int(digits.labels[0])]
        (355, torch.Size([355, 1, 8, 8]), '5')
    """
    if name not in list(IMAGE_SETS):
        raise SpikeflipError(f"unknown image data set {name!r}: choose one of {', '.join(IMAGE_SETS)}")
    if split not in ("train", "test"):
        raise SpikeflipError(f"unknown split {split!r} of {name}: choose train or test")
    if name == "digits":
        return _load_digits(split)
    if root is None:
        raise SpikeflipError(f"{name} is read from files and no root was given: add --root DIR (root=...)")
    folder = Path(root).expanduser()
    if not folder.is_dir() and (folder.exists() or not download):
        raise SpikeflipError(
            f"the root {folder} is not a folder: give an existing one with --root DIR, or add --download"
        )
    return (_load_mnist if name == "mnist" else _load_cifar10)(folder, split, download)


def select_per_class(labels: Tensor, per_class: int, *, candidates: Tensor | None = None) -> Tensor:
    """Pick the first samples of each class, in the order of the data.

    Args:
        labels: ``(N,)`` integer class labels.
        per_class: how many samples to take of each class that occurs in ``labels``, at least 1.
        candidates: ``(N,)`` bool, True where a sample may be taken (for example: correctly classified); None takes all.

    Returns:
        ``(classes * per_class,)`` int64 indices, class after class, ascending within each class.

    Raises:
        SpikeflipError: if shapes or types are wrong, or a class has fewer candidates than ``per_class``.

    Example:
        >>> select_per_class(torch.tensor([1, 0, 1, 1, 0]), 2)
        tensor([1, 4, 0, 2])
    """
    if labels.ndim != 1 or len(labels) == 0 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise SpikeflipError(
            f"labels must be (N,) integers, N at least 1, got {tuple(labels.shape)} {labels.dtype}: flatten"
        )
    if isinstance(per_class, bool) or not isinstance(per_class, int) or per_class < 1:
        raise SpikeflipError(f"per_class must be a whole number of at least 1, got {per_class!r}: use 10, for example")
    allowed = torch.ones_like(labels, dtype=torch.bool) if candidates is None else candidates
    if allowed.dtype != torch.bool or allowed.shape != labels.shape:
        found = f"{tuple(allowed.shape)} {allowed.dtype}"
        raise SpikeflipError(
            f"candidates must be bool of shape {tuple(labels.shape)}, got {found}: pass one bool a label"
        )
    chosen = []
    for label in sorted(set(labels.tolist())):
        indices = ((labels == label) & allowed).nonzero().flatten()
        if len(indices) < per_class:
            raise SpikeflipError(
                f"class {label} has {len(indices)} candidates, fewer than per_class={per_class}: lower it or add data"
            )
        chosen.append(indices[:per_class])
    return torch.cat(chosen)


def _image_set(
    name: str, split: str, pixels: _Bytes, labels: _Bytes, classes: tuple[str, ...], source: str, white: int = 255
) -> ImageSet:
    """Turn bytes (N, C, H, W) and labels (N,) into an ImageSet; ``white`` is the byte that becomes 1.0."""
    if len(labels) and int(labels.max()) >= len(classes):
        raise SpikeflipError(
            f"label {int(labels.max())} in {source} is above the largest, {len(classes) - 1}: fetch the files again"
        )
    digest = hashlib.sha256(pixels.tobytes())
    digest.update(labels.tobytes())
    images = torch.from_numpy(pixels).to(torch.float32).div_(white)
    return ImageSet(name, split, images, torch.from_numpy(labels).long(), classes, source, digest.hexdigest())


@functools.cache
def _digits() -> tuple[_Bytes, _Bytes]:
    """All pixels ``(N, 8, 8)`` and labels; reading them takes longer than a small attack."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)


def _load_digits(split: str) -> ImageSet:
    every, labels = _digits()
    rank = np.zeros(len(labels), dtype=np.int64)  # position of an image within its class
    for label in range(10):
        members = labels == label
        rank[members] = np.arange(members.sum())
    chosen = (rank % 5 == 4) == (split == "test")
    pixels = every[chosen, None]
    source = f"scikit-learn's bundled digits, {len(pixels):,} of {len(labels):,} images"
    return _image_set("digits", split, pixels, labels[chosen], tuple("0123456789"), source, white=16)


def _load_mnist(root: Path, split: str, download: bool) -> ImageSet:
    folder = root / "MNIST" / "raw"
    prefix = "train" if split == "train" else "t10k"
    images_path, labels_path = folder / f"{prefix}-images-idx3-ubyte", folder / f"{prefix}-labels-idx1-ubyte"
    if download and not (images_path.is_file() and labels_path.is_file()):
        from torchvision.datasets import MNIST

        _download("MNIST", root, lambda: MNIST(root, train=split == "train", download=True))
    pixels, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
    if len(pixels) != len(labels):
        raise SpikeflipError(
            f"{images_path} holds {len(pixels)} images but {labels_path.name} {len(labels)} labels: fetch both again"
        )
    source = f"MNIST idx files in {folder}, {len(pixels):,} images"
    return _image_set("mnist", split, pixels[:, None], labels, tuple("0123456789"), source)


def _read_idx(path: Path, rank: int) -> _Bytes:
    """Read an idx file of unsigned bytes: a magic number, ``rank`` big-endian sizes, then the bytes."""
    archive = path.with_name(f"{path.name}.gz")
    if not path.is_file() and archive.is_file():
        raise SpikeflipError(f"{path} is only there as {archive.name}: unpack it (gunzip --keep) or add --download")
    data = _read_bytes(path, "MNIST")
    header = 4 * (1 + rank)
    if len(data) < header:
        raise SpikeflipError(f"{path} ends within its header of {header} bytes (it has {len(data)}): fetch it again")
    magic, *shape = struct.unpack(f">{1 + rank}I", data[:header].tobytes())
    expected = 0x0800 + rank  # 08: unsigned bytes
    if magic != expected:
        raise SpikeflipError(f"{path} starts with {magic:#010x}, not an idx file's {expected:#010x}: fetch it again")
    wanted = header + int(np.prod([int(n) for n in shape], dtype=object))
    if len(data) != wanted or wanted == header:
        raise SpikeflipError(
            f"{path} has {len(data)} bytes but its header asks for {wanted} (sizes {shape}, none 0): fetch it again"
        )
    return data[header:].reshape(shape)


def _load_cifar10(root: Path, split: str, download: bool) -> ImageSet:
    folder = root / "cifar-10-batches-bin"
    names = [f"data_batch_{k}.bin" for k in range(1, 6)] if split == "train" else ["test_batch.bin"]
    present = [folder / name for name in names if (folder / name).is_file()]
    if not present:
        return _load_cifar10_python(root, split, download, folder / names[0])
    records = np.concatenate([_read_cifar10_batch(path) for path in present])
    count = f"{len(records):,} images" if split == "train" else f"{len(records):,} of 10,000 images"
    batches = f"{len(present)} of 5 training batches" if split == "train" else "test batch"
    source = f"CIFAR-10 binary version in {folder}: {batches}, {count}"
    pixels = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
    return _image_set("cifar10", split, pixels, records[:, 0].copy(), _read_class_names(folder), source)


def _read_cifar10_batch(path: Path) -> _Bytes:
    """Read the records (n, 3073) of one batch: a label byte and 3072 pixels, planes red, green, blue."""
    data = _read_bytes(path, "CIFAR-10")
    if len(data) == 0 or len(data) % _CIFAR10_RECORD:
        raise SpikeflipError(
            f"{path} has {len(data)} bytes, not a positive multiple of {_CIFAR10_RECORD} (one image): fetch it again"
        )
    records = data.reshape(-1, _CIFAR10_RECORD)
    bad = np.flatnonzero(records[:, 0] > 9)
    if len(bad):
        raise SpikeflipError(f"{path} has label {records[bad[0], 0]} at image {bad[0]}, above 9: fetch it again")
    return records


def _read_class_names(folder: Path) -> tuple[str, ...]:
    """Class names of the binary version; the official ones where ``batches.meta.txt`` is missing."""
    path = folder / "batches.meta.txt"
    if not path.is_file():
        return _CIFAR10_CLASSES
    names = tuple(_read_bytes(path, "CIFAR-10").tobytes().decode("utf-8", errors="replace").split())
    if names != _CIFAR10_CLASSES:
        raise SpikeflipError(
            f"{path} does not list CIFAR-10's classes ({', '.join(_CIFAR10_CLASSES)}): fetch it again or remove it"
        )
    return names


def _load_cifar10_python(root: Path, split: str, download: bool, binary: Path) -> ImageSet:
    from torchvision.datasets import CIFAR10

    folder = root / CIFAR10.base_folder
    problem = _cifar10_python_problem(folder)
    if problem and download:
        _download("CIFAR-10", root, lambda: CIFAR10(root, download=True))
        problem = _cifar10_python_problem(folder)
    if problem and not folder.is_dir():
        raise SpikeflipError(
            f"neither {binary} nor {folder} exists: give their folder with --root DIR, or add --download"
        )
    if problem:
        raise SpikeflipError(f"{problem}: add --download to fetch the python version again, or give another --root DIR")
    data = CIFAR10(root, train=split == "train")
    pixels = np.ascontiguousarray(data.data.transpose(0, 3, 1, 2))
    labels = np.asarray(data.targets, dtype=np.uint8)
    source = f"CIFAR-10 python version in {folder}, {len(labels):,} images"
    return _image_set("cifar10", split, pixels, labels, tuple(data.classes), source)


def _cifar10_python_problem(folder: Path) -> str | None:
    """Name the first file that is missing or differs from the official one; None if torchvision will accept all."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    for name, md5 in (*CIFAR10.train_list, *CIFAR10.test_list, meta):
        path = folder / name
        if not path.is_file():
            return f"{path} does not exist"
        if not check_integrity(path, md5):
            return f"{path} is damaged (its md5 is not the official {md5})"
    return None


def _read_bytes(path: Path, title: str) -> _Bytes:
    if not path.is_file():
        raise SpikeflipError(f"{path} does not exist: give the folder of {title} with --root DIR, or add --download")
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise SpikeflipError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _download(title: str, root: Path, fetch: Callable[[], object]) -> None:
    """Run torchvision's download, silently."""
    logger.info("downloading %s to %s", title, root)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            fetch()
    except Exception as error:  # whatever urllib, tarfile or gzip raise: to the user it is one thing
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpikeflipError(
            f"{title} could not be downloaded to {root} ({reason}): check the network, or put its files there by hand"
        ) from error
