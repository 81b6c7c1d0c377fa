"""What rows made by hand say of each finding: its number, the rows, the outcome, words of it."""

from made_rows import bounded, cures, cwl2, gammas, methods, pairs, row, thresholds, traced, variants

TABLE_1 = [
    (0, methods("passes_a_step", scg=2.0, whole=200.0), "held", "MNIST: 200 passes a step against 2.0"),
    (0, methods("passes_a_step", scg=2.0, whole=199.0), "did not hold", ""),
    # The part of the candidates that is tried a step says nothing.
    (0, methods("passes_a_step", scg=2.0, trial=32.0), "not tested", ""),
    (
        0,
        methods("passes_a_step", scg=2.0, whole=900.0) + methods("passes_a_step", "N-MNIST", scg=2.0, whole=3.0),
        "held in part",
        "N-MNIST: 3 passes a step against 2.0 (no)",
    ),
    (1, methods(scg=0.9, trial=0.2, whole=1.0), "held", "MNIST: 90.0 % against 20.0 %"),
    (1, methods(scg=0.9, trial=0.9), "did not hold", ""),
    (1, methods(scg=0.9, conversion=0.1), "not tested", ""),
    (1, methods(scg=0.9, trial=0.2) + methods(data="CIFAR10", scg=0.1, trial=0.2), "held in part", "(no)"),
    (2, methods(scg=0.9, conversion=0.89), "held", "90.0 % against 89.0 %"),
    (2, methods(scg=0.9, conversion=0.95), "did not hold", ""),
    (2, methods(scg=None, conversion=0.95), "not tested", ""),
    (3, methods(scg=0.9, random=0.0), "held", ""),
    (3, methods(scg=0.0, random=0.0), "did not hold", ""),
    (3, methods(scg=0.9), "not tested", ""),
]
TABLE_3 = [
    (0, [row(vanished_first_step=51)], "held", "MNIST, MSE: 51 of 100"),
    (0, [row(vanished_first_step=50)], "did not hold", ""),
    (
        0,
        [row(vanished_first_step=51), row("MNIST, full width", vanished_first_step=3)],
        "held in part",
        "3 of 100 (no)",
    ),
    (0, [row("N-MNIST", vanished_first_step=99), row("CIFAR10", vanished_first_step=99)], "not tested", ""),
    (1, pairs("loss", "vanished_in_500", MSE=100, CE=101), "held", "MNIST: MSE 100, CE 101"),
    (1, pairs("loss", "vanished_in_500", MSE=100, CE=100), "did not hold", ""),
    (1, pairs("loss", "vanished_in_500", MSE=100), "not tested", ""),
]
SAME, LARGER = ({"goal": "untargeted"}, {"goal": "targeted"})
TABLE_7 = [
    (
        0,
        pairs("loss", "success", MSE=0.9, CE=0.8),
        "held",
        "MNIST, untargeted: CE 80.0 %, MSE 90.0 %, intervals overlap",
    ),
    (0, pairs("loss", "success", MSE=0.9, CE=0.9), "did not hold", ""),
    (
        0,
        pairs("loss", "success", MSE=0.9, CE=0.8) + pairs("loss", "success", [LARGER], MSE=0.5, CE=0.7),
        "held in part",
        "MNIST, targeted: CE 70.0 %, MSE 50.0 %, intervals overlap (no)",
    ),
    (0, pairs("loss", "success", MSE=0.9), "not tested", ""),
    (
        1,
        pairs("loss", "success", MSE=0.9, CE=0.8) + pairs("loss", "success", [LARGER], MSE=0.9, CE=0.5),
        "held",
        "MNIST: MSE ahead by 10.0 points untargeted, 40.0 targeted",
    ),
    (
        1,
        pairs("loss", "success", MSE=0.9, CE=0.8) + pairs("loss", "success", [LARGER], MSE=0.9, CE=0.85),
        "did not hold",
        "",
    ),
    (1, pairs("loss", "success", MSE=0.9, CE=0.8), "not tested", ""),
]
TABLE_8 = [
    (0, [*pairs("method", "accuracy_loss", SCG=0.5), row(method="conversion [30]", accuracy_loss=0.4)], "held", ""),
    (
        0,
        [*pairs("method", "accuracy_loss", SCG=0.4), row(method="conversion [30]", accuracy_loss=0.4)],
        "did not hold",
        "",
    ),
    (
        0,
        [
            row(method=method, bound=bound, accuracy_loss=value)
            for bound, values in ((8, (0.5, 0.4)), (64, (0.7, 0.8)))
            for method, value in zip(("SCG", "conversion [30]"), values, strict=True)
        ],
        "held in part",
        "MNIST, untargeted, 8: conversion [30] 40.0 %, SCG 50.0 %; "
        "MNIST, untargeted, 64: conversion [30] 80.0 %, SCG 70.0 % (no)",
    ),
    (0, pairs("method", "accuracy_loss", SCG=0.5), "not tested", ""),
]
FIGURE_5 = [
    (0, [row("N-MNIST", zero=0.91)], "held", "N-MNIST: 91.0 % are zero"),
    (0, [row("N-MNIST", zero=0.5)], "did not hold", ""),
    (0, [row("N-MNIST", zero=0.91), row("CIFAR10-DVS", zero=0.2)], "held in part", "20.0 % are zero (no)"),
    (0, [row("N-MNIST", zero=None)], "not tested", ""),
]
FIGURE_7 = [
    (0, [row("N-MNIST", masked=0.97)], "held", "N-MNIST: 97.0 % masked out"),
    (0, [row("N-MNIST", masked=0.96)], "did not hold", ""),
    (0, [row("N-MNIST", masked=0.97), row("CIFAR10-DVS", masked=0.5)], "held in part", "(no)"),
    (0, [row("N-MNIST", masked=None)], "not tested", ""),
]
FIGURE_9 = [
    (0, [traced(20, 30, 15)], "held", "MNIST: 20 to 15 spikes (-25.0 %)"),
    (0, [traced(20, 10, 20)], "did not hold", ""),
    (0, [traced(1000, 995)], "did not hold", "(-0.5 %)"),
    (0, [traced(20, 15), traced(20, 25, data="N-MNIST")], "held in part", "N-MNIST: 20 to 25 spikes (+25.0 %) (no)"),
    (0, [traced(20, 15, loss="CE"), traced(20), traced()], "not tested", ""),
    (1, [traced(20, 21, loss="CE")], "held", "(+5.0 %)"),
    (1, [traced(20, 30, 20, loss="CE")], "did not hold", ""),
    (1, [traced(0, 5, loss="CE"), traced(20, 10, loss="CE", data="N-MNIST")], "held in part", ""),
    (1, [traced(20, 21)], "not tested", ""),
]
FIGURE_10 = [
    (0, [traced(9, threshold=2.0), traced(30, threshold=0.3), traced(20, threshold=0.7)], "held", "30 at 0.3, 9 at 2"),
    (0, [traced(30, threshold=0.3), traced(35, threshold=0.7), traced(9, threshold=2.0)], "did not hold", ""),
    (0, [traced(30, threshold=0.3), traced(30, threshold=0.7)], "did not hold", ""),
    (
        0,
        [
            *(traced(v, threshold=t) for t, v in ((0.3, 5), (0.7, 4))),
            *(traced(v, threshold=t, data="N-MNIST") for t, v in ((0.3, 5), (0.7, 6))),
        ],
        "held in part",
        "N-MNIST: 5 at 0.3, 6 at 0.7 (no)",
    ),
    (0, [traced(30, threshold=0.3), traced(threshold=0.7)], "not tested", ""),
]
FIGURE_11 = [
    (
        0,
        pairs("sampling", "mse", without=0.3, **{"with": 0.1}),
        "held",
        "MNIST, untargeted: with 0.1000, without 0.3000",
    ),
    (0, pairs("sampling", "mse", without=0.1, **{"with": 0.1}), "did not hold", ""),
    (
        0,
        pairs("sampling", "mse", [SAME], without=2.0, **{"with": 1.0})
        + pairs("sampling", "mse", [LARGER], without=1.0, **{"with": 2.0}),
        "held in part",
        "",
    ),
    (0, pairs("sampling", "mse", without=None, **{"with": 0.1}), "not tested", ""),
    (
        1,
        pairs("sampling", "success", [LARGER], without=0.3, **{"with": 0.5}),
        "held",
        "MNIST: without 30.0 %, with 50.0 %, intervals overlap",
    ),
    (1, pairs("sampling", "success", [LARGER], without=0.5, **{"with": 0.5}), "did not hold", ""),
    (1, pairs("sampling", "success", [SAME], without=0.3, **{"with": 0.5}), "not tested", ""),
    (2, pairs("sampling", "other_failures", without=0.9, **{"with": 0.05}), "held", "MNIST, untargeted: 5.0 %"),
    (2, pairs("sampling", "other_failures", without=0.9, **{"with": 0.06}), "did not hold", ""),
    (
        2,
        pairs("sampling", "other_failures", [SAME], **{"with": 0.0})
        + pairs("sampling", "other_failures", [LARGER], **{"with": 0.5}),
        "held in part",
        "",
    ),
    (2, pairs("sampling", "other_failures", without=0.0), "not tested", ""),
    (
        3,
        pairs("sampling", "mse", [SAME], **{"with": 0.1}) + pairs("sampling", "mse", [LARGER], **{"with": 0.2}),
        "held",
        "MNIST, with: untargeted 0.1000, targeted 0.2000",
    ),
    (
        3,
        pairs("sampling", "mse", [SAME], **{"with": 0.2}) + pairs("sampling", "mse", [LARGER], **{"with": 0.1}),
        "did not hold",
        "",
    ),
    (3, pairs("sampling", "mse", [SAME], **{"with": 0.1}), "not tested", ""),
]
FIGURE_12 = [
    (0, gammas(0.7, 0.9, 0.8), "held", "MNIST: best at 0.05 (90.0 %), 90.0 % at 0.05"),
    (0, gammas(0.9, 0.85, 0.8), "did not hold", "MNIST: best at 0.01 (90.0 %), 85.0 % at 0.05, within its interval"),
    (0, gammas(0.9, 0.84, 0.8), "did not hold", ""),
    (0, gammas(0.7, 0.9, 0.8) + gammas(0.9, 0.1, 0.8, data="N-MNIST"), "held in part", "N-MNIST: best at 0.01"),
    (0, gammas(0.9, None, 0.8), "not tested", ""),
    (0, gammas(None, 0.9, None), "not tested", ""),
    (0, gammas(None, 0.9, 0.8), "not tested", ""),  # nothing below
    (0, gammas(0.7, 0.9, 0.8, goal="untargeted"), "not tested", ""),
    (1, gammas(0.95, 0.97, 1.0, goal="untargeted"), "held", "MNIST: at least 95.0 % (at 0.01)"),
    (1, gammas(0.97, 0.94, 1.0, goal="untargeted"), "did not hold", "MNIST: at least 94.0 % (at 0.05)"),
    (
        1,
        gammas(1.0, 1.0, 1.0, goal="untargeted") + gammas(0.1, 1.0, 1.0, goal="untargeted", data="N-MNIST"),
        "held in part",
        "",
    ),
    (1, gammas(1.0, 1.0, 1.0), "not tested", ""),
    (2, gammas(0.01, 0.02, 0.03, measure="mse"), "held", "MNIST, targeted: 0.0100, 0.0200, 0.0300"),
    (2, gammas(0.02, 0.01, 0.03, measure="mse"), "did not hold", ""),
    (2, gammas(0.02, 0.02, 0.02, measure="mse"), "did not hold", ""),
    (2, gammas(0.02, None, None, measure="mse"), "not tested", ""),
]
FIGURE_13 = [
    (0, gammas(3.0, 2.0, 1.0, measure="vanished_steps"), "held", "MNIST, targeted: 3.00 at 0.01, 1.00 at 0.1"),
    (0, gammas(1.0, 2.0, 1.0, measure="vanished_steps"), "did not hold", ""),
    (
        0,
        gammas(3.0, 2.0, 1.0, measure="vanished_steps")
        + gammas(0.0, 0.0, 0.0, measure="vanished_steps", goal="untargeted"),
        "held in part",
        "",
    ),
    (0, gammas(3.0, None, None, measure="vanished_steps"), "not tested", ""),
]
FIGURE_14 = [
    # 0.9 is the success at the own threshold, its interval ends at 0.95.
    (0, thresholds(0.9, 0.96, 0.5, loss="CE"), "held", "MNIST, untargeted: 90.0 % at 0.3, 96.0 % at 0.7"),
    (0, thresholds(0.9, 0.95, 0.5, loss="CE"), "did not hold", ""),
    (
        0,
        thresholds(0.9, 0.96, 0.5, loss="CE") + thresholds(0.9, 0.1, 0.5, loss="CE", goal="targeted"),
        "held in part",
        "",
    ),
    (0, thresholds(1.0, 0.9, 1.0, loss="CE"), "not tested", ""),
    (0, thresholds(0.9, 0.96, 0.5), "not tested", ""),
    (1, thresholds(0.1, 0.2, 0.95), "held", "MNIST, MSE, untargeted: 95.0 % at 2"),
    (1, thresholds(1.0, 1.0, 0.94), "did not hold", ""),
    (1, thresholds(0.1, 0.2, 0.95) + thresholds(0.1, 0.2, 0.5, loss="CE"), "held in part", ""),
    (1, thresholds(1.0, "-", "-") + thresholds(1.0, 1.0, 1.0, data="N-MNIST"), "not tested", ""),
    (2, thresholds(0.5, 0.9, 0.6, data="N-MNIST", goal="targeted"), "held", "N-MNIST, MSE: best at 0.7 (90.0 %)"),
    (2, thresholds(0.5, 0.9, 0.9, data="N-MNIST", goal="targeted"), "did not hold", ""),  # no fall
    (2, thresholds(0.9, 0.8, 0.1, data="N-MNIST", goal="targeted"), "did not hold", ""),  # no rise
    (
        2,
        thresholds(0.5, 0.9, 0.6, data="N-MNIST", goal="targeted")
        + thresholds(0.5, 0.6, 0.9, data="N-MNIST", goal="targeted", loss="CE"),
        "held in part",
        "N-MNIST, CE: best at 2 (90.0 %) (no)",
    ),
    (2, thresholds(0.5, 0.9, "-", data="N-MNIST", goal="targeted"), "not tested", ""),
    (2, thresholds(0.5, 0.9, 0.6, goal="targeted") + thresholds(0.5, 0.9, 0.6, data="N-MNIST"), "not tested", ""),
    (3, thresholds(0.5, 0.05, 0.09, measure="mse"), "held", "MNIST, MSE, untargeted: at most 0.090 (at 2)"),
    (3, thresholds(0.01, 0.1, 0.01, measure="mse"), "did not hold", ""),
    (
        3,
        thresholds(0.5, 0.05, 0.09, measure="mse") + thresholds(0.5, 0.05, 0.2, measure="mse", loss="CE"),
        "held in part",
        "",
    ),
    (
        3,
        thresholds(0.5, 0.05, 0.09, measure="mse")
        + thresholds(0.5, 0.05, 0.08, measure="mse", goal="targeted")
        + thresholds(0.5, 0.05, 0.2, measure="mse", loss="CE"),
        "held",  # in most cases
        "MNIST, CE, untargeted: at most 0.200 (at 2) (no)",
    ),
    (3, thresholds(0.01, None, None, measure="mse"), "not tested", ""),
    (4, bounded(0.5, 0.961, 0.9), "held", "MNIST, MSE, untargeted: 96.1 % at 0.7"),
    (4, bounded(1.0, 0.96, 0.9), "did not hold", ""),
    (4, bounded(1.0, 0.97, 0.9) + bounded(1.0, 0.5, 0.4, goal="targeted"), "held in part", "50.0 % at 0.7 (no)"),
    (4, bounded(0.5, 0.99, 0.9, data="N-MNIST") + thresholds(0.5, 0.99, 0.9), "not tested", ""),
]
FIGURE_15 = [
    (0, pairs("attack", "mse", ANN=0.01, SNN=0.02), "held", "MNIST, untargeted: ANN 0.0100, SNN 0.0200"),
    (0, pairs("attack", "mse", ANN=0.02, SNN=0.02), "did not hold", ""),
    (
        0,
        pairs("attack", "mse", [SAME], ANN=1.0, SNN=2.0) + pairs("attack", "mse", [LARGER], ANN=2.0, SNN=1.0),
        "held in part",
        "",
    ),
    (0, pairs("attack", "mse", ANN=0.01), "not tested", ""),
    (1, pairs("attack", "success", [{"seed": 0}, {"seed": 1}], ANN_to_SNN=0.11), "held", "untargeted: 11.0 %, 11.0 %"),
    (1, pairs("attack", "success", ANN_to_SNN=0.12), "did not hold", ""),
    (
        1,
        pairs("attack", "success", [SAME], ANN_to_SNN=0.1) + pairs("attack", "success", [LARGER], ANN_to_SNN=0.3),
        "held in part",
        "",
    ),
    (1, pairs("attack", "success", SNN_to_ANN=0.1, ANN_to_SNN=None), "not tested", ""),
    (2, pairs("attack", "success", SNN_to_ANN=0.2, ANN_to_SNN=0.1), "held", "ANN to SNN 10.0 %, SNN to ANN 20.0 %"),
    (2, pairs("attack", "success", SNN_to_ANN=0.1, ANN_to_SNN=0.1), "did not hold", ""),
    (2, pairs("attack", "success", SNN=0.2, ANN_to_SNN=0.1), "not tested", ""),
    (
        2,
        pairs("attack", "success", [{"seed": 0}], SNN_to_ANN=0.2, ANN_to_SNN=0.1)
        + pairs("attack", "success", [{"seed": 1}], SNN_to_ANN=0.2, ANN_to_SNN=0.4),
        "did not hold",
        "ANN to SNN 25.0 %, SNN to ANN 20.0 %",
    ),
]
FIGURE_16 = [
    # Success at c = 0 is 0.9 within [0.85, 0.95].
    (0, cwl2((0.0, 0.9, 0.02), (0.05, 0.85, 0.01)), "held", "mse 0.0200 to 0.0100, success 90.0 % to 85.0 %"),
    (0, cwl2((0.0, 0.9, 0.02), (0.05, 0.84, 0.01)), "did not hold", ""),
    (0, cwl2((0.0, 0.9, 0.02), (0.05, 0.99, 0.02)), "did not hold", ""),
    (
        0,
        cwl2((0.0, 0.9, 0.02), (0.05, 0.9, 0.01)) + cwl2((0.0, 0.9, 0.02), (0.05, 0.9, 0.03), goal="targeted"),
        "held in part",
        "",
    ),
    (0, cwl2((0.0, 0.9, 0.02), (0.05, 0.0, None), (0.1, 0.9, 0.01)), "not tested", ""),
    (1, cwl2((0.0, 0.9, 0.02), (0.25, 0.8, 0.0), (0.5, 0.9, 0.0)), "held", "90.0 % to 80.0 %"),
    (1, cwl2((0.0, 0.9, 0.02), (0.25, 0.9, 0.0)), "did not hold", ""),
    (
        1,
        cwl2((0.0, 0.9, 0.02), (0.25, 0.1, 0.0)) + cwl2((0.0, 0.9, 0.02), (0.25, 0.9, 0.0), goal="targeted"),
        "held in part",
        "",
    ),
    (1, cwl2((0.0, 0.9, 0.02), (0.5, 0.1, 0.0)), "not tested", ""),
]
GESTURES = {"data": "Gesture-DVS"}
FIGURE_17 = [
    (0, thresholds(0.1, 0.9, 0.5, **GESTURES), "held", "untargeted: 90.0 % of 100 at 0.7"),
    (0, thresholds(0.1, 0.89, 0.5, **GESTURES), "did not hold", ""),
    (
        0,
        thresholds(0.1, 0.9, 0.5, **GESTURES) + thresholds(0.1, 0.2, 0.5, goal="targeted", **GESTURES),
        "held in part",
        "",
    ),
    (0, thresholds(None, None, None, **GESTURES), "not tested", ""),
]
VANISHED = {"measure": "vanished_first_step"}
VANISHING = [
    # Means over two seeds, of 100 inputs.
    (0, cures(own=(80, 90), both=(4, 6), **VANISHED), "held", "MNIST, MSE, untargeted: 85 to 5 of 100"),
    (0, cures(own=(80, 90), both=(6, 6), **VANISHED), "did not hold", ""),
    (
        0,
        cures(own=(80,), both=(1,), **VANISHED) + cures(data="N-MNIST", own=(80,), both=(9,), **VANISHED),
        "held in part",
        "",
    ),
    (0, cures(own=(0, 0), both=(0, 0), **VANISHED), "not tested", ""),
    (0, cures(own=(80,), window=(0,), **VANISHED), "not tested", ""),
    (1, cures("CE", own=(80,), window=(5,), **VANISHED), "held", "MNIST, CE, untargeted: 80 to 5 of 100"),
    (1, cures("CE", own=(80,), window=(6,), **VANISHED), "did not hold", ""),
    (1, cures("MSE", own=(80,), window=(6,), **VANISHED), "not tested", ""),
    (2, cures(raised=(0.9, 1.0), both=(0.945, 0.946)), "held", "MNIST, MSE, untargeted: 94.5 % against 95.0 %"),
    (2, cures(raised=(0.9, 1.0), both=(0.94, 0.94)), "did not hold", ""),
    (2, cures(raised=(0.9,), both=(0.9,)) + cures("CE", raised=(0.9,), window=(0.5,)), "held in part", "(no)"),
    (2, cures(raised=(0.9,), both=(None,)), "not tested", ""),
    (3, cures(own=(2.0,), both=(0.05, 0.09), measure="vanished_steps"), "held", "2.00 to 0.07 an input"),
    (3, cures(own=(2.0,), both=(0.1,), measure="vanished_steps"), "did not hold", ""),
    (3, cures("CE", own=(2.0,), both=(0.0,), measure="vanished_steps"), "not tested", ""),
]
CHECKS = {
    "table-1": TABLE_1,
    "table-3": TABLE_3,
    "table-7": TABLE_7,
    "table-8": TABLE_8,
    "figure-5": FIGURE_5,
    "figure-7": FIGURE_7,
    "figure-9": FIGURE_9,
    "figure-10": FIGURE_10,
    "figure-11": FIGURE_11,
    "figure-12": FIGURE_12,
    "figure-13": FIGURE_13,
    "figure-14": FIGURE_14,
    "figure-15": FIGURE_15,
    "twins": FIGURE_15,
    "figure-16": FIGURE_16,
    "figure-17": FIGURE_17,
    "vanishing": VANISHING,
    "surrogates": variants(0, "rectangular", "atan"),
    "windows": variants(0, "T = 5", "T = 30", "verified"),
    "codings": variants(0, "latency", "rate", "verified"),
    "depths": variants(0, "the recipe's", "two convolutions", "verified"),
    "converters": variants(0, "the 64 largest", "sampling") + variants(1, "sampling", "all", "mse", "untargeted"),
    "flippers": variants(0, "none", "flipper") + variants(1, "flipper", "a wide window where the gradient vanished"),
}
