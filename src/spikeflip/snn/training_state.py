"""An unfinished training on disk: its weights, the optimiser's moments, what was seen so far."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spikeflip.errors import SpikeflipError
from spikeflip.notices import Notice
from spikeflip.snn.firing import Firing
from spikeflip.snn.network import Network
from spikeflip.snn.watch import Watch
from spikeflip.writing import make_folder, write_bytes


@dataclass
class History:
    """What training saw: one entry a validation; no accuracies where nothing was held out.

    Args:
        update, loss, validation_accuracy: one entry a validation.
        looked: the updates after which the watch looked at the firing of a spiking network.
        silent_neurons: for each of these the share of neurons that never fired, layer by layer.
        silent_samples: the same for samples on which a layer did not fire at all.
        notices: what went wrong and what was done about it.
    """

    update: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    looked: list[int] = field(default_factory=list)
    silent_neurons: list[list[float]] = field(default_factory=list)
    silent_samples: list[list[float]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def add(self, update: int, loss: float, validation_accuracy: float | None) -> None:
        """Note a validation; its accuracy is None where no inputs were held out."""
        self.update.append(update)
        self.loss.append(loss)
        if validation_accuracy is not None:
            self.validation_accuracy.append(validation_accuracy)

    def add_firing(self, update: int, firing: Firing | None) -> None:
        """Note what the watch saw; nothing of a network without spikes."""
        if firing is None:
            return
        self.looked.append(update)
        self.silent_neurons.append([round(layer.silent_neurons, 4) for layer in firing.layers])
        self.silent_samples.append([round(layer.silent_samples, 4) for layer in firing.layers])


def save_state(
    path: Path,
    network: Network,
    optimiser: torch.optim.Adam,
    identity: Mapping[str, Any],
    history: History,
    update: int,
    watch: Watch,
) -> None:
    """Write all that an interrupted training needs to end as an undisturbed one."""
    tensors: dict[str, Tensor] = {}
    step = 0
    for i, weight in enumerate(network.weights):
        moments = optimiser.state[weight]
        step = int(moments.get("step", 0))  # less than the update where the training went back, 0 at its beginning
        tensors |= {
            f"{i}.weight": weight.data,
            f"{i}.first": moments.get("exp_avg", torch.zeros_like(weight)),
            f"{i}.second": moments.get("exp_avg_sq", torch.zeros_like(weight)),
            f"{i}.initial": watch.initial[i],
        }
    metadata = {"identity": json.dumps(identity), "history": json.dumps(asdict(history)), "update": str(update)}
    metadata |= {"step": str(step), "watch": json.dumps(watch.state())}
    tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
    metadata["sha256"] = _sha256(tensors, metadata)
    make_folder(path.parent)
    write_bytes(path, save(tensors, metadata))


def restore_state(
    path: Path, network: Network, optimiser: torch.optim.Adam, identity: Mapping[str, Any], watch: Watch
) -> tuple[History, int]:
    """Take up what :func:`save_state` wrote; returns the history and the number of the last update.

    Raises:
        SpikeflipError: the file is damaged, or of another training.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for its writer
            raise ValueError("it is no plain file")
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            if "sha256" not in metadata:
                raise SpikeflipError(f"{path} was written by another version of spikeflip: delete it to start anew")
            if json.loads(metadata["identity"]) != identity:
                raise SpikeflipError(
                    f"{path} holds the unfinished training of another network, setting or data set: "
                    "train with the same options to finish it, or delete it"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            if metadata.pop("sha256") != _sha256(tensors, metadata):
                raise ValueError("its checksum is of something else")
            update, step = int(metadata["update"]), int(metadata["step"])
            for i, weight in enumerate(network.weights):
                with torch.no_grad():
                    weight.copy_(tensors[f"{i}.weight"])
                    watch.initial[i].copy_(tensors[f"{i}.initial"])
                optimiser.state[weight] = (
                    {}
                    if step == 0
                    else {
                        "step": torch.tensor(float(step)),
                        "exp_avg": torch.empty_like(weight.data).copy_(tensors[f"{i}.first"]),
                        "exp_avg_sq": torch.empty_like(weight.data).copy_(tensors[f"{i}.second"]),
                    }
                )
            watch.restore(json.loads(metadata["watch"]))
            history = json.loads(metadata["history"])
            notices = [Notice(**notice) for notice in history.pop("notices")]
            return History(**history, notices=notices), update
    except SpikeflipError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise SpikeflipError(f"the saved training {path} is damaged ({error}): delete it to start anew") from error


def _sha256(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Of all that a state says, in whatever order the file has it."""
    shapes = {name: [str(value.dtype), *value.shape] for name, value in tensors.items()}
    digest = hashlib.sha256(json.dumps([shapes, metadata], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
