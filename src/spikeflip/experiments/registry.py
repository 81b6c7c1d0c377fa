"""All experiments, by name."""

from spikeflip.experiments import (
    figure_5,
    figure_7,
    figure_9,
    figure_10,
    figure_11,
    figure_12,
    figure_13,
    figure_14,
    figure_15,
    figure_16,
    figure_17,
    figure_18,
    table_1,
    table_3,
    table_7,
    table_8,
    vanishing,
    variants,
)
from spikeflip.experiments.declaration import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        table_1.EXPERIMENT,
        table_3.EXPERIMENT,
        table_7.EXPERIMENT,
        table_8.EXPERIMENT,
        figure_5.EXPERIMENT,
        figure_7.EXPERIMENT,
        figure_9.EXPERIMENT,
        figure_10.EXPERIMENT,
        figure_11.EXPERIMENT,
        figure_12.EXPERIMENT,
        figure_13.EXPERIMENT,
        figure_14.EXPERIMENT,
        figure_15.EXPERIMENT,
        figure_16.EXPERIMENT,
        figure_17.EXPERIMENT,
        figure_18.EXPERIMENT,
        vanishing.EXPERIMENT,
        *variants.EXPERIMENTS,
        figure_15.INDEPENDENT,
    )
}
"""The paper's first, in its order, then our own."""
