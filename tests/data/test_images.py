"""Image data sets against hand-written files, the real ones where they are at hand, and all the ways to break them."""

import gzip
import hashlib
import pickle
import shutil
import struct
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch

from spikeflip.data.images import IMAGE_SETS, load_images, select_per_class
from spikeflip.errors import SpikeflipError

REAL = Path(__file__).parents[2].parent / "shared" / "data"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _bytes(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _write_mnist(root: Path, pixels: np.ndarray, labels: list[int], prefix: str = "t10k") -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    images = struct.pack(">4I", 2051, *pixels.shape) + pixels.tobytes()
    (raw / f"{prefix}-images-idx3-ubyte").write_bytes(images)
    (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, len(labels)) + bytes(labels))
    return raw


def _write_cifar10(root: Path, name: str, pixels: np.ndarray, labels: list[int]) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True, exist_ok=True)
    records = [bytes([label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True)]
    (folder / f"{name}.bin").write_bytes(b"".join(records))
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


# --- digits -----------------------------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_split_four_to_one_within_each_class() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    train, test = load_images("digits", "train"), load_images("digits", "test")
    expected = [i for k in range(10) for i in np.flatnonzero(bunch.target == k)[4::5].tolist()]
    expected.sort()
    assert torch.equal(test.images, torch.tensor(bunch.images[expected] / 16, dtype=torch.float32)[:, None])
    assert test.labels.tolist() == bunch.target[expected].tolist()
    assert (len(train), len(test)) == (1442, 355)
    assert train.images.sum() + test.images.sum() == bunch.images.sum() / 16
    assert (train.images.min(), train.images.max(), train.images.dtype) == (0, 1, torch.float32)
    assert train.labels.dtype == torch.int64
    assert train.classes == tuple("0123456789")
    assert test.source == "scikit-learn's bundled digits, 355 of 1,797 images"


def test_digits_hash_is_of_the_original_bytes_and_the_default_split_is_test() -> None:
    test = load_images("digits")
    pixels = (test.images * 16).to(torch.uint8).numpy()
    assert test.split == "test"
    assert test.sha256 == hashlib.sha256(pixels.tobytes() + bytes(test.labels.tolist())).hexdigest()
    assert test.sha256 == load_images("digits", "test").sha256
    assert test.sha256 != load_images("digits", "train").sha256


# --- MNIST ------------------------------------------------------------------------------------------------------------


def test_mnist_reads_hand_written_files(tmp_path: Path) -> None:
    pixels = _bytes(3, 28, 28)
    raw = _write_mnist(tmp_path, pixels, [7, 0, 9])
    found = load_images("mnist", "test", root=tmp_path)
    assert torch.equal(found.images, torch.from_numpy(pixels[:, None] / np.float32(255)))
    assert found.labels.tolist() == [7, 0, 9]
    assert (found.name, found.split, len(found)) == ("mnist", "test", 3)
    assert found.source == f"MNIST idx files in {raw}, 3 images"
    assert found.sha256 == hashlib.sha256(pixels.tobytes() + bytes([7, 0, 9])).hexdigest()


def test_mnist_train_and_test_are_different_files(tmp_path: Path) -> None:
    _write_mnist(tmp_path, _bytes(2, 28, 28), [1, 2])
    _write_mnist(tmp_path, _bytes(4, 28, 28, seed=1), [3, 4, 5, 6], prefix="train")
    assert load_images("mnist", "train", root=str(tmp_path)).labels.tolist() == [3, 4, 5, 6]
    assert load_images("mnist", "test", root=str(tmp_path)).labels.tolist() == [1, 2]


def test_real_mnist_has_the_published_class_counts(tmp_path: Path) -> None:
    source = REAL / "mnist" / "MNIST" / "raw"
    if not source.is_dir():
        pytest.skip("real MNIST is not at hand")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in source.glob("t10k*.gz"):
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
    found = load_images("mnist", "test", root=tmp_path)
    assert found.images.shape == (10_000, 1, 28, 28)
    assert found.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_download_unpacks_the_gz_files_that_are_there(tmp_path: Path, no_network: None, capfd: Any) -> None:
    source = REAL / "mnist" / "MNIST" / "raw"
    if not source.is_dir():
        pytest.skip("real MNIST is not at hand")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in source.glob("*.gz"):
        shutil.copyfile(archive, raw / archive.name)
    with pytest.raises(SpikeflipError, match=r"only there as train-images.*\.gz: unpack it \(gunzip.*\) or add --down"):
        load_images("mnist", "train", root=tmp_path)
    found = load_images("mnist", "train", root=tmp_path, download=True)
    assert found.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("images-idx3", b"", r"images-idx3-ubyte ends within its header of 16 bytes \(it has 0\): fetch"),
        ("images-idx3", struct.pack(">3I", 2051, 2, 28), r"ends within its header of 16 bytes \(it has 12\)"),
        ("labels-idx1", b"\x00" * 7, r"labels-idx1-ubyte ends within its header of 8 bytes \(it has 7\)"),
        ("images-idx3", struct.pack(">4I", 2049, 2, 28, 28) + bytes(1568), "starts with 0x00000801, not .* 0x00000803"),
        ("labels-idx1", struct.pack(">2I", 2051, 2) + bytes(2), "starts with 0x00000803, not .* 0x00000801"),
        (
            "images-idx3",
            struct.pack(">4I", 2051, 2, 28, 28) + bytes(1567),
            "has 1583 bytes but its header asks for 1584",
        ),
        (
            "images-idx3",
            struct.pack(">4I", 2051, 2, 28, 28) + bytes(1569),
            "has 1585 bytes but its header asks for 1584",
        ),
        (
            "images-idx3",
            struct.pack(">4I", 2051, *[2**32 - 1] * 3),
            "has 16 bytes but .* 79228162458924105385300197391",
        ),
        ("images-idx3", struct.pack(">4I", 2051, 0, 28, 28), r"sizes \[0, 28, 28\], none 0"),
        ("labels-idx1", struct.pack(">2I", 2049, 3) + bytes(3), "holds 2 images but t10k-labels-idx1-ubyte 3 labels"),
        ("labels-idx1", struct.pack(">2I", 2049, 2) + bytes([3, 10]), "label 10 in MNIST idx .* above the largest, 9"),
    ],
)
def test_damaged_mnist_is_refused(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    raw = _write_mnist(tmp_path, _bytes(2, 28, 28), [1, 2])
    (raw / f"t10k-{file}-ubyte").write_bytes(content)
    with pytest.raises(SpikeflipError, match=message):
        load_images("mnist", "test", root=tmp_path)


def test_missing_mnist_file_is_named(tmp_path: Path) -> None:
    raw = _write_mnist(tmp_path, _bytes(2, 28, 28), [1, 2])
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(SpikeflipError, match=r"t10k-labels-idx1-ubyte does not exist: .*--root DIR, or add --download"):
        load_images("mnist", "test", root=tmp_path)


def test_unreadable_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    _write_mnist(tmp_path, _bytes(2, 28, 28), [1, 2])
    monkeypatch.setattr(np, "fromfile", refuse)
    with pytest.raises(SpikeflipError, match=r"idx3-ubyte cannot be read \(Permission denied\): check its permissions"):
        load_images("mnist", "test", root=tmp_path)


# --- CIFAR-10 ---------------------------------------------------------------------------------------------------------


def test_cifar10_reads_hand_written_batches_in_order(tmp_path: Path) -> None:
    pixels = _bytes(5, 3, 32, 32)
    for k, part in ((3, slice(3, 5)), (1, slice(0, 2)), (2, slice(2, 3))):
        folder = _write_cifar10(tmp_path, f"data_batch_{k}", pixels[part], [6, 9, 9, 4, 1][part])
    found = load_images("cifar10", "train", root=tmp_path)
    assert torch.equal(found.images, torch.from_numpy(pixels / np.float32(255)))
    assert found.images.is_contiguous()
    assert found.labels.tolist() == [6, 9, 9, 4, 1]
    assert found.classes == CLASSES
    assert found.source == f"CIFAR-10 binary version in {folder}: 3 of 5 training batches, 5 images"
    assert found.sha256 == hashlib.sha256(pixels.tobytes() + bytes([6, 9, 9, 4, 1])).hexdigest()


def test_cifar10_says_when_the_test_batch_is_short(tmp_path: Path) -> None:
    folder = _write_cifar10(tmp_path, "test_batch", _bytes(2, 3, 32, 32), [0, 1])
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    found = load_images("cifar10", "test", root=tmp_path, download=True)  # nothing is missing: no download
    assert found.source == f"CIFAR-10 binary version in {folder}: test batch, 2 of 10,000 images"
    with pytest.raises(SpikeflipError, match=r"neither .*data_batch_1\.bin nor .*batches-py exists: .*--download"):
        load_images("cifar10", "train", root=tmp_path)


def test_real_cifar10_equals_its_lossless_sheet(tmp_path: Path) -> None:
    if not (REAL / "cifar10").is_dir():
        pytest.skip("real CIFAR-10 is not at hand")
    from PIL import Image

    sheet = np.asarray(Image.open(REAL / "cifar10" / "test_batch_first1000.webp").convert("RGB"))
    labels = np.load(REAL / "cifar10" / "labels.npz")["test"][:1000]
    tiles = [sheet[32 * (i // 100) :, 32 * (i % 100) :][:32, :32].transpose(2, 0, 1) for i in range(1000)]
    folder = _write_cifar10(tmp_path, "test_batch", np.stack(tiles), labels.tolist())
    shutil.copyfile(REAL / "cifar10" / "batches.meta.txt", folder / "batches.meta.txt")
    found = load_images("cifar10", "test", root=tmp_path)
    assert found.labels.bincount().tolist() == [103, 89, 100, 103, 90, 86, 112, 102, 106, 109]
    for index in (0, 99, 100, 999):
        row, column = 32 * (index // 100), 32 * (index % 100)
        tile = torch.from_numpy(sheet[row : row + 32, column : column + 32] / np.float32(255))
        assert torch.equal(found.images[index].permute(1, 2, 0), tile)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"test_batch.bin has 0 bytes, not a positive multiple of 3073 \(one image\): fetch it again"),
        (bytes(3072), "has 3072 bytes, not a positive multiple of 3073"),
        (bytes(3073 * 2 + 1), "has 6147 bytes"),
        (bytes(3073) + b"\x0a" + bytes(3072), "has label 10 at image 1, above 9"),
    ],
)
def test_damaged_cifar10_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    folder = _write_cifar10(tmp_path, "test_batch", _bytes(1, 3, 32, 32), [0])
    (folder / "test_batch.bin").write_bytes(content)
    with pytest.raises(SpikeflipError, match=message):
        load_images("cifar10", "test", root=tmp_path)


@pytest.mark.parametrize("text", [b"", b"airplane\nautomobile\n", b"\xff\xfe\n" * 10])
def test_foreign_cifar10_class_names_are_refused(tmp_path: Path, text: bytes) -> None:
    folder = _write_cifar10(tmp_path, "test_batch", _bytes(1, 3, 32, 32), [0])
    (folder / "batches.meta.txt").write_bytes(text)
    with pytest.raises(SpikeflipError, match=r"batches.meta.txt does not list CIFAR-10's classes \(airplane, auto"):
        load_images("cifar10", "test", root=tmp_path)


@pytest.fixture
def python_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """A python version with two images a batch whose md5 torchvision is told to take for the official ones."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = _bytes(12, 3, 32, 32)

    def write(name: str, content: dict[str, Any]) -> str:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    names = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
    sums = [
        [name, write(name, {"data": pixels[2 * i : 2 * i + 2].reshape(2, -1), "labels": [i, 9]})]
        for i, name in enumerate(names)
    ]
    monkeypatch.setattr(CIFAR10, "train_list", sums[:5])
    monkeypatch.setattr(CIFAR10, "test_list", sums[5:])
    meta = write("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta})
    return folder, pixels


def test_cifar10_python_version_is_read_and_the_binary_one_preferred(
    tmp_path: Path, python_version: tuple[Path, np.ndarray]
) -> None:
    folder, pixels = python_version
    train = load_images("cifar10", "train", root=tmp_path)
    assert torch.equal(train.images, torch.from_numpy(pixels[:10] / np.float32(255)))
    assert train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert train.classes == CLASSES
    assert train.source == f"CIFAR-10 python version in {folder}, 10 images"
    test = load_images("cifar10", "test", root=tmp_path)
    _write_cifar10(tmp_path, "test_batch", pixels[10:], [5, 9])
    binary = load_images("cifar10", "test", root=tmp_path)
    assert "binary version" in binary.source
    assert binary.sha256 == test.sha256  # the same images by whichever road


def test_a_changed_pickle_is_refused_and_never_loaded(
    tmp_path: Path, python_version: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = python_version
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled a file of unknown origin"))
    (folder / "data_batch_2").write_bytes(pickle.dumps({"data": 1}))
    with pytest.raises(SpikeflipError, match=r"data_batch_2 is damaged \(its md5 is not the official .*--download"):
        load_images("cifar10", "test", root=tmp_path)
    (folder / "data_batch_2").unlink()
    with pytest.raises(SpikeflipError, match=r"data_batch_2 does not exist: add --download .*--root DIR"):
        load_images("cifar10", "test", root=tmp_path)


# --- what is wrong before a file is read ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar100", "", "MNIST", None, ["mnist"]])
def test_unknown_names_list_the_known(name: Any) -> None:
    with pytest.raises(SpikeflipError, match=r"unknown image data set .*: choose one of digits, mnist, cifar10"):
        load_images(name)


def test_unknown_split_missing_root_and_absent_root(tmp_path: Path) -> None:
    with pytest.raises(SpikeflipError, match="unknown split 'validation' of digits: choose train or test"):
        load_images("digits", "validation")
    for name in ("mnist", "cifar10"):
        with pytest.raises(SpikeflipError, match=rf"{name} is read from files and no root was given: add --root DIR"):
            load_images(name, "test")
        with pytest.raises(SpikeflipError, match=r"absent is not a folder: .*--root DIR, or add --download"):
            load_images(name, "test", root=tmp_path / "absent")
        (tmp_path / "file").touch()
        with pytest.raises(SpikeflipError, match="file is not a folder"):
            load_images(name, "test", root=tmp_path / "file", download=True)
        with pytest.raises(SpikeflipError, match=rf"{tmp_path}.* exist"):
            load_images(name, "test", root=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_failed_download_is_one_line(name: str, tmp_path: Path, no_network: None, capfd: Any) -> None:
    with pytest.raises(
        SpikeflipError, match=r"could not be downloaded to .*no network in this test.*by hand$"
    ) as caught:
        load_images(name, "test", root=tmp_path / "new", download=True)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")


def test_every_image_set_is_described() -> None:
    assert list(IMAGE_SETS) == ["digits", "mnist", "cifar10"]
    assert all("\n" not in line for line in IMAGE_SETS.values())


# --- select_per_class -------------------------------------------------------------------------------------------------


def test_select_per_class_takes_the_first_of_each_class() -> None:
    labels = torch.tensor([2, 0, 2, 5, 0, 5, 2, 0])
    assert select_per_class(labels, 2).tolist() == [1, 4, 0, 2, 3, 5]
    candidates = torch.tensor([0, 0, 1, 1, 1, 1, 1, 1], dtype=torch.bool)
    chosen = select_per_class(labels, 2, candidates=candidates)
    assert chosen.tolist() == [4, 7, 2, 6, 3, 5]
    assert chosen.dtype == torch.int64
    assert select_per_class(labels.to(torch.uint8), 1).tolist() == [1, 0, 3]


def test_select_per_class_names_the_class_that_has_too_few() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    with pytest.raises(SpikeflipError, match="class 1 has 1 candidates, fewer than per_class=2: lower it or add data"):
        select_per_class(labels, 2, candidates=torch.tensor([True, True, True, False]))
    with pytest.raises(SpikeflipError, match="class 0 has 0 candidates"):
        select_per_class(labels, 1, candidates=torch.tensor([False, False, True, True]))


@pytest.mark.parametrize(
    ("labels", "per_class", "candidates", "message"),
    [
        (torch.zeros(2, 2).long(), 1, None, r"labels must be \(N,\) integers, N at least 1, got \(2, 2\)"),
        (torch.zeros(0).long(), 1, None, r"N at least 1, got \(0,\)"),
        (torch.zeros(3), 1, None, "integers.* got .* torch.float32"),
        (torch.zeros(3).long(), 0, None, "per_class must be a whole number of at least 1, got 0"),
        (torch.zeros(3).long(), 1.0, None, "per_class must be a whole number of at least 1, got 1.0"),
        (torch.zeros(3).long(), 1, torch.ones(2).bool(), r"candidates must be bool of shape \(3,\), got \(2,\)"),
        (torch.zeros(3).long(), 1, torch.tensor([0, 1, 2]), r"candidates must be bool .* torch.int64"),
    ],
)
def test_select_per_class_refuses(labels: Any, per_class: Any, candidates: Any, message: str) -> None:
    with pytest.raises(SpikeflipError, match=message):
        select_per_class(labels, per_class, candidates=candidates)
