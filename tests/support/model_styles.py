"""Every style of model that the contract is held to."""

from typing import Any

import pytest
import torch
from equations import Style
from norse_styles import norse_cells, norse_loop, norse_recurrent, norse_recurrent_loop, norse_sequence
from plain_styles import PaperModel, TimeLast, paper_loop, stateful, stateful_loop, time_last_loop
from sinabs_styles import (
    sinabs_batch_first,
    sinabs_loop,
    sinabs_recurrent,
    sinabs_recurrent_loop,
    sinabs_squeeze,
    sinabs_squeeze_loop,
)
from snntorch_styles import (
    snn_explicit,
    snn_explicit_loop,
    snn_hidden,
    snn_hidden_loop,
    snn_membrane_loop,
    snn_recurrent,
    snn_recurrent_loop,
    snn_thresholds,
    snn_thresholds_loop,
)
from spikingjelly_styles import (
    sj_functional,
    sj_functional_loop,
    sj_multi_step,
    sj_multi_step_loop,
    sj_nested,
    sj_nested_loop,
    sj_recurrent,
    sj_recurrent_loop,
    sj_single_step,
    sj_single_step_loop,
)

STYLES = [
    Style("spikingjelly multi-step", ("spikingjelly",), sj_multi_step, sj_multi_step_loop, (2, 8, 8)),
    Style(
        "spikingjelly single-step", ("spikingjelly",), sj_single_step, sj_single_step_loop, options={"layout": "steps"}
    ),
    Style("spikingjelly functional, linear head", ("spikingjelly",), sj_functional, sj_functional_loop),
    Style("spikingjelly recurrent", ("spikingjelly",), sj_recurrent, sj_recurrent_loop, options={"layout": "steps"}),
    Style("spikingjelly nested, norm, dropout", ("spikingjelly",), sj_nested, sj_nested_loop, (2, 8, 8)),
    Style("snntorch loop, tuple", ("snntorch",), snn_explicit, snn_explicit_loop, options={"output": 0}),
    Style(
        "snntorch loop, largest membrane",
        ("snntorch",),
        snn_explicit,
        snn_membrane_loop,
        options={"output": 1, "readout": "max"},
    ),
    Style("snntorch hidden, nested", ("snntorch",), snn_hidden, snn_hidden_loop, options={"layout": "steps"}),
    Style("snntorch recurrent", ("snntorch",), snn_recurrent, snn_recurrent_loop, options={"layout": "steps"}),
    Style(
        "snntorch threshold a neuron",
        ("snntorch",),
        snn_thresholds(False),
        snn_thresholds_loop,
        options={"layout": "steps"},
    ),
    Style(
        "snntorch learnable thresholds",
        ("snntorch",),
        snn_thresholds(True),
        snn_thresholds_loop,
        options={"layout": "steps"},
    ),
    Style("norse LIF", ("norse",), norse_sequence, norse_loop, options={"output": 0}),
    Style("norse LIFCell", ("norse",), norse_cells, norse_loop, options={"layout": "steps+state"}),
    Style("norse recurrent", ("norse",), norse_recurrent, norse_recurrent_loop, options={"output": 0}),
    Style("sinabs", ("sinabs",), sinabs_batch_first, sinabs_loop, options={"layout": "BT"}),
    Style("sinabs squeeze", ("sinabs",), sinabs_squeeze, sinabs_squeeze_loop, (2, 8, 8), options={"layout": "flat-BT"}),
    Style("sinabs recurrent", ("sinabs",), sinabs_recurrent, sinabs_recurrent_loop, options={"layout": "BT"}),
    Style("paper code", (), PaperModel, paper_loop, (1, 8, 8), options={"layout": "static"}, static=True),
    Style("stateful by hand", (), stateful(), stateful_loop, options={"layout": "steps"}),
    Style("time last, dictionary", (), TimeLast, time_last_loop, options={"layout": "T-last", "output": "spikes"}),
    Style(
        "half precision",
        (),
        stateful(torch.bfloat16),
        stateful_loop,
        options={"layout": "steps"},
        tolerance=0.05,
    ),
]


def named(style: Style) -> Any:
    marks = [pytest.mark.frameworks] if style.needs else []
    return pytest.param(style, id=style.name.replace(" ", "-").replace(",", ""), marks=marks)
