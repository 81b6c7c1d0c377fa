"""What a prompt and a notebook show of results: figures with their names, no tensors, nothing that is markup."""

from dataclasses import replace

import pytest
import torch
from plain_styles import PaperNeuron
from torch import nn

import spikeflip
from spikeflip.attacks.result import AttackResult
from spikeflip.notices import Notice
from spikeflip.showing import as_html, as_text


@pytest.fixture(scope="module")
def attacked(digit_victim, digits):
    images, labels = digits.images[:12], digits.labels[:12].clone()
    labels[0] = (labels[0] + 1) % 10  # wrong from the start
    result = spikeflip.scg(digit_victim, images, labels)
    return result, spikeflip.judge(digit_victim, images, result.adversarials, labels, None, result, draws=5)


def test_a_result_is_a_few_lines(attacked):
    result, _ = attacked
    won, text = result.success, repr(result)
    attempted = int((~result.already_wrong).sum())
    lines = [line.split("  ") for line in text.splitlines()]
    assert lines[0] == ["AttackResult of 12 inputs"]
    rows = {line[1]: line[-1].strip() for line in lines[1:]}
    share = f"{int(won.sum()) / attempted:.1%}"
    assert rows["fooled"] == f"{int(won.sum())} of {attempted} attacked ({share}), not yet judged"
    assert int(rows["wrong from the start"]) == 12 - attempted > 0
    passes = (result.forwards + result.backwards)[won].double().mean()
    assert rows["of a success, on average"] == f"{result.steps[won].double().mean():.1f} steps, {passes:.1f} passes"
    assert rows["adversarials"] == "(12, 1, 8, 8), cpu"
    assert "tensor" not in text


def test_nothing_attacked_and_what_must_be_known():
    empty = AttackResult.blank(torch.zeros(0, 1, 2, 2), None)
    title, fooled, *_ = repr(empty).splitlines()
    assert title == "AttackResult of 0 inputs"
    assert fooled.split(maxsplit=1) == ["fooled", "0 of 0 attacked, not yet judged"]
    noticed = AttackResult(**{**vars(empty), "notices": (Notice("a", "it was <b>not</b> so"),)})
    assert repr(noticed).endswith("note: it was <b>not</b> so")
    assert noticed._repr_html_().endswith("<p>note: it was &lt;b&gt;not&lt;/b&gt; so</p>")


def test_a_judgement_has_its_rates_with_interval_and_n(attacked):
    _, judgement = attacked
    summary, text = judgement.summary(), repr(judgement)
    assert text.startswith("Judgement of 12 inputs (images)\n")
    low, high = summary["verified_success_rate_interval"]
    rate, n = summary["verified_success_rate"], summary["verified_success_rate_n"]
    assert f"verified success rate     {rate:.1%}  ({low:.1%} – {high:.1%}, n = {n})" in text
    assert f"mse {summary['mse_mean']:.4g}" in text
    assert text.count("note: ") == len(judgement.notices)
    html = judgement._repr_html_()
    assert html.count("<tr>") == len(text.splitlines()) - 1 - len(judgement.notices)
    assert "tensor" not in text + html


def test_a_judgement_without_what_an_attack_counts(digit_victim, digits):
    images, labels = digits.images[:3], digits.labels[:3]
    text = repr(spikeflip.judge(digit_victim, images, images, labels, draws=1))
    assert "vanished" not in text
    assert "clean accuracy" in text


def test_a_set_of_images_is_a_few_lines(digits):
    lines = [line.split("  ") for line in repr(digits).splitlines()]
    assert lines[0] == [f"ImageSet digits of {len(digits)} inputs"]
    assert {line[1]: line[-1].strip() for line in lines[1:]} == {
        "split": digits.split,
        "images": "(355, 1, 8, 8), from 0 to 1",
        "classes": "0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
        "source": "scikit-learn's bundled digits, 355 of 1,797 images",
    }
    empty = replace(digits, images=digits.images[:0], labels=digits.labels[:0])
    assert "images   (0, 1, 8, 8)\n" in repr(empty)
    assert "<td>(355, 1, 8, 8), from 0 to 1</td>" in digits._repr_html_()


def test_a_network_says_what_it_is():
    network = spikeflip.SpikingNetwork("4C3-10FC", (1, 8, 8), time_steps=7, coding="latency").on("event")
    first, second = (line.strip() for line in repr(network).splitlines()[1:3])
    assert first == "'4C3-10FC', (1, 8, 8), time_steps=7, coding='latency', engine='event',"
    assert second == f"neuron={network.neuron}"
    twin = spikeflip.ReluNetwork("4C3-10FC", (1, 8, 8))
    assert repr(twin).splitlines()[1].strip() == "'4C3-10FC', (1, 8, 8)"


def test_a_wrapped_model_says_how_it_is_called():
    layers = nn.Sequential(nn.Flatten(2), nn.Linear(20, 8), PaperNeuron(), nn.Linear(8, 3), PaperNeuron())
    spikes = torch.rand(4, 6, 20, generator=torch.Generator().manual_seed(0)).round()
    victim = spikeflip.wrap(layers, spikes)
    title, *lines = repr(victim).splitlines()
    assert title == "WrappedModel of Sequential"
    assert dict(line.strip().split("  ", 1) for line in lines) == {
        "takes": "            spikes (N, 6, 20)",
        "classes": "          3",
        "layout": "           TB",
        "spiking layers": "   '2', '4'",
        "penultimate layer": "'2'",
        "its threshold": f"    {victim.penultimate_threshold:g}",
    }
    plain = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
    text = repr(spikeflip.wrap(plain, spikes[:, 0], layout="static", neurons={}))
    for said in ("images (N, 20)", "none known", "none to move"):
        assert said in text
    assert "<tr><th>layout</th><td>TB</td></tr>" in victim._repr_html_()


def test_tables_of_nothing():
    assert as_text("title", {}) == "title"
    assert (
        as_html("<i>", {"<a>": "&"})
        == "<table><caption>&lt;i&gt;</caption><tr><th>&lt;a&gt;</th><td>&amp;</td></tr></table>"
    )
