"""Tables of the documents that are made of lists in the code: what is added there must be here too."""

from pathlib import Path

from spikeflip.attacks import ATTACKS, METRICS
from spikeflip.rates import RATES

METHOD = (Path(__file__).parents[1] / "docs" / "method.md").read_text()
ON = {"all": "images and spikes", "spikes": "spikes", "recordings": "recordings"}
AGAIN = "images over fresh encodings of the final image, recordings read back from the saved file"


def table(title):
    """The rows of the first table below a title."""
    lines = METHOD.partition(f"\n## {title}\n")[2].partition("\n## ")[0].splitlines()
    return [line for line in lines if line.startswith("| `")]


def test_metrics():
    metrics = METRICS.values()
    assert table("Metrics") == [f"| `{one.name}` | {one.unit} | {one.meaning} | {ON[one.on]} |" for one in metrics]


def test_rates():
    rates = RATES.values()
    assert table("Rates") == [f"| `{one.name}` | {one.of} | {one.meaning.format(again=AGAIN)} |" for one in rates]


def test_attacks():
    rows = [
        f"| `{name}` | {', '.join(one.inputs)} | {', '.join(one.goals)} | {one.source} |"
        for name, one in ATTACKS.items()
    ]
    assert table("Attacks") == rows
