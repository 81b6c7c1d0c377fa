"""Rows of experiments made by hand."""

CI = [0.85, 0.95]


def row(data="MNIST", loss="MSE", goal="untargeted", **given):
    kind = "events" if "DVS" in data or data.startswith("N-") else "images"
    return {"data": data, "kind": kind, "loss": loss, "goal": goal, "n": 100, "success_interval": CI, **given}


def gammas(*values, goal="targeted", measure="success", data="MNIST"):
    grid = (0.01, 0.05, 0.1)
    return [row(data, goal=goal, gamma=g, **{measure: v}) for g, v in zip(grid, values, strict=True)]


def thresholds(*values, measure="success", **labels):
    grid = (0.3, 0.7, 2.0)
    return [
        row(threshold=t, bound="none", **{measure: v}, **labels) for t, v in zip(grid, values, strict=True) if v != "-"
    ]


def bounded(*values, **labels):
    return [made | {"bound": 0.08} for made in thresholds(*values, **labels)]


def traced(*values, **labels):
    counts = [float(v) for v in values]
    ends = {"first_spikes": counts[0], "last_spikes": counts[-1]} if counts else {}
    return row(penultimate_spikes=counts, **ends, **labels)


def methods(measure="verified", data="MNIST", **figures):
    names = {
        "scg": "SCG",
        "trial": "trial and error [28]",
        "whole": "trial and error [28], whole search space",
        "conversion": "conversion [30]",
        "random": "random control",
    }
    return [row(data, method=names[name], **{measure: value}) for name, value in figures.items()]


def cures(loss="MSE", measure="success", n=100, data="MNIST", **figures):
    names = {
        "own": "the paper's, own threshold",
        "raised": "the paper's, raised threshold",
        "window": "wide output window",
        "both": "both",
    }
    return [
        row(data, loss, cure=names[name], seed=seed, **{measure: value}) | {"n": n}
        for name, values in figures.items()
        for seed, value in enumerate(values)
    ]


def pairs(label, measure, by=({},), **figures):
    """Rows of two values of a label."""
    return [
        row(**{label: value.replace("_", " "), measure: f} | labels) for labels in by for value, f in figures.items()
    ]


def cwl2(*entries, goal="untargeted"):
    return [row(goal=goal, c=c, success=s, mse=m) for c, s, m in entries]


def variants(at, first, second, measure="success", goal="targeted"):
    """Checks of the finding number ``at``, that ``measure`` is smaller for the first variant than for the second."""

    def rows(low, high):
        return [row(goal=goal, variant=first, **{measure: low}), row(goal=goal, variant=second, **{measure: high})]

    return [
        (at, rows(0.2, 0.4), "held", f"MNIST, {goal}: {first} "),
        (at, rows(0.4, 0.4), "did not hold", ""),
        (at, rows(None, 0.4), "not tested", ""),
    ]
