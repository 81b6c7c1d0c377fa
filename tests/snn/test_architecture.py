import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeflip import SpikeflipError, SpikingNetwork
from spikeflip.snn.architecture import AvgPool, Conv, Linear, parse, scale, shapes, to_string
from spikeflip.snn.presets import PRESETS, TABLE_VI

hidden = st.one_of(
    st.builds(Conv, st.integers(1, 999), st.sampled_from([1, 3, 5, 7])),
    st.builds(AvgPool, st.integers(1, 9)),
    st.builds(Linear, st.integers(1, 9999)),
)


@given(st.lists(hidden, max_size=8), st.builds(Linear, st.integers(1, 99)))
def test_parse_is_the_inverse_of_to_string(layers, last):
    assert parse(to_string([*layers, last])) == (*layers, last)


def test_paper_networks_have_the_papers_shapes():
    layers = parse(PRESETS["paper-spike"].architecture)
    assert shapes(layers, (2, 34, 34))[2] == (128, 17, 17)
    assert shapes(layers, (2, 34, 34))[5] == (384, 8, 8)  # 17 x 17 pooled by 2: the remainder is dropped
    assert shapes(parse(PRESETS["paper-image"].architecture), (1, 28, 28))[6] == (512, 7, 7)
    assert shapes(parse(PRESETS["paper-gesture"].architecture), (2, 32, 32))[-1] == (11,)


def test_every_column_of_table_vi_can_be_built():
    for row in TABLE_VI.values():
        assert shapes(parse(PRESETS[row.network].architecture), row.input_shape)
        assert PRESETS[row.network].neuron.decay == row.decay
        assert PRESETS[row.network].neuron.surrogate.width == row.surrogate_width


def test_width_scales_hidden_layers_only():
    assert to_string(scale(parse("128C3-AP2-3FC-10FC"), 0.25)) == "32C3-AP2-1FC-10FC"


@pytest.mark.parametrize(
    ("architecture", "shape", "message"),
    [
        ("128C3-XY-10FC", (1, 8, 8), r"cannot read 'XY' \(layer 2 of '128C3-XY-10FC'\)"),
        ("", (1, 8, 8), "cannot read ''"),
        ("0C3-10FC", (1, 8, 8), "'0C3' has a size of zero"),
        ("8C2-10FC", (1, 8, 8), "'8C2' has an even kernel"),
        ("8C3-AP2", (1, 8, 8), "the last layer of '8C3-AP2' is AP2"),
        ("AP4-AP4-10FC", (1, 8, 8), r"cannot pool 2×2 by 4 in 'AP4' \(layer 2 of .*; input was \(1, 8, 8\)\)"),
        ("16FC-8C3-10FC", (1, 8, 8), "'8C3' needs maps .* but gets 16 features"),
        ("10FC", (0,), r"input shape of '10FC' is \(0,\)"),
    ],
)
def test_networks_that_cannot_be_built(architecture, shape, message):
    with pytest.raises(SpikeflipError, match=message):
        SpikingNetwork(architecture, shape)


@pytest.mark.parametrize("width", [0, -1, float("inf"), float("nan")])
def test_width_out_of_range(width):
    with pytest.raises(SpikeflipError, match="width is"):
        scale(parse("10FC"), width)
