"""What the command writes tables of, and the lines that it wrote."""

import re

RATES = {
    "clean_accuracy": (0.9137, 0.8123, 0.9629, 58, "clean accuracy"),
    "attack_success_rate": (0.9434, 0.8463, 0.9806, 53, "attack success rate"),
    "verified_success_rate": (0.8721, 0.7566, 0.9371, 52, "verified success rate"),
    "robust_accuracy": (0.0517, 0.0177, 0.1414, 57, "robust accuracy"),
    "tie_rate": (0.0189, 0.0033, 0.0994, 51, "ties"),
    "vanished_first_step_rate": (0.3019, 0.1952, 0.4354, 50, "vanished first steps"),
}


def summary(**changed):
    found = {"n": 59, "mse_mean": 0.030123, "steps_mean": 4.3019}
    for key, (rate, low, high, n, _) in RATES.items():
        found |= {key: rate, f"{key}_interval": [low, high], f"{key}_n": n}
    return found | changed


def lines_of(capsys):
    """The lines written, with blanks and frames as single blanks."""
    return [" ".join(re.sub("[┃│┏┓┡┩└┘━─┴┳╇┠┨]", " ", line).split()) for line in capsys.readouterr().out.splitlines()]


def listed(name, **changed):
    row = {
        "name": name,
        "runs": 1,
        "state": "finished",
        "victim": "v",
        "goal": "untargeted",
        "settings": {},
        "given": None,
        "n": 1200,
    }
    for rate, (value, low, high) in {"success": (0.91, 0.8, 0.95), "verified": (0.62, 0.5, 0.7)}.items():
        row |= {rate: value, f"{rate}_low": low, f"{rate}_high": high, f"{rate}_n": 50}
    row |= {"mse": 0.0123, "steps": 3.24, "passes": 7.77, "seconds": 1234.5, "done": None, "note": None}
    return row | {"success_lowest": None, "success_highest": None} | changed


def comparison(**changed):
    found = {
        "runs": ["runs/one", "runs/two"],
        "victims": ["v", "w"],
        "settings": {"gamma": [0.05, None], "seed": [0, 1]},
        "success": [0.91, None],
        "verified": [0.62, 0.31],
        "only_first": 11,
        "only_second": 12,
        "mse": [0.01234, None],
        "l0": [12.34, None],
        "steps": [3.25, 4.75],
        "attacked": 1300,
        "shared": 1400,
        "both": 1013,
        "neither": 1014,
        "second_better": 0.52,
        "second_better_low": 0.3,
        "second_better_high": 0.7,
    }
    return found | changed


def answer(file, prediction, rates, **changed):
    known = {"events": 1500, "events_outside": 250, "frames": "15 bins of 5 ms", "notes": [], "notices": []}
    return {"file": file, "prediction": prediction, "rates": rates} | known | changed


FACTS = {
    "file": "a.bin",
    "format": "N-MNIST bin",
    "width": 34,
    "height": 33,
    "events": 4244,
    "on": 3000,
    "off": 1244,
    "duration_us": 9999,
    "first_us": 1011,
    "t0_us": 7012,
    "events_per_second": 12345.6,
    "notes": ["times [b]ran[/b] backwards", "the sensor is guessed"],
}


FINDINGS = [
    {
        "experiment": "table-1",
        "findings": [
            {"state": "held", "text": "It holds.", "words": "90 % of 10"},
            {"state": "did not hold", "text": "It [b]does[/b] not.", "words": "0 % of 9"},
        ],
    },
    {"experiment": "figure-9", "findings": [{"state": "not tested", "text": "Nobody looked.", "words": "–"}]},
]


def layout_of(capsys):
    """The lines written, as they stand but for blanks at their ends and around the whole."""
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    return "\n".join(lines).strip("\n")
