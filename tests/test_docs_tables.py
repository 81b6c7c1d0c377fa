"""Tables of the documents that are made of lists in the code: what is added there must be here too."""

import re
from pathlib import Path

import spikeflip
from spikeflip.attacks import ATTACKS, METRICS
from spikeflip.interop import LIBRARY_ATTACKS
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


def test_attacks_of_other_libraries():
    page = (Path(__file__).parents[1] / "docs" / "attacks.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `") and ":" in line.split("`")[1]]
    told = {row[0][3:-1]: (row[1], row[-1][:-2]) for row in rows if row[0][3:-1] in LIBRARY_ATTACKS}
    assert told == {name: (", ".join(one.goals), one.source) for name, one in LIBRARY_ATTACKS.items()}
    assert list(told) == list(LIBRARY_ATTACKS)


def test_notices():
    sources = Path(spikeflip.__file__).parent.rglob("*.py")
    codes = {code for path in sources for code in re.findall(r'\bNotice\(\s*"([a-z-]+)"', path.read_text())}
    pages = "".join(path.read_text() for path in (Path(__file__).parents[1] / "docs").glob("*.md"))
    assert len(codes) > 30
    assert sorted(code for code in codes if f"`{code}`" not in pages) == []
