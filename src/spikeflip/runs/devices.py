"""Putting a model where it shall run."""

import re
from typing import TypeVar

from torch import nn

from spikeflip.errors import SpikeflipError

Model = TypeVar("Model", bound=nn.Module)
_DEVICE = re.compile(r"cpu|cuda(:\d{1,3})?")


def placed(model: Model, device: str) -> Model:
    """The model, moved to a device; a SpikeflipError where that is not there, or none that attacks run on."""
    if not _DEVICE.fullmatch(device):
        raise SpikeflipError(f"--device is {device!r:.80}: choose cpu, cuda or cuda:N")
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SpikeflipError(
            f"--device {device} cannot be used ({reason}): choose cpu, or a device that is there"
        ) from error
