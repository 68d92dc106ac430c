"""How far a model's mistakes are off: the distribution of the true class's rank among its answers (Table 5)."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.reporting.figures.checks import require
from pipelines.reporting.figures.style import INK, SOFT, new_figure, only_horizontal_grid, styled

_TRAINING, _EVALUATION = "#0072B2", "#E69F00"
_BARS = 20
"""Up to as many classes each rank has bars; of more, curves over a logarithmic axis."""


@styled
def rank_bars(frame: pd.DataFrame) -> Figure:
    """Shares of mistakes by rank, those trained on and those evaluated, and the probabilities of targets.

    ``frame`` has the columns ``rank`` (0 is the answer itself) and, as shares from 0 to 1, ``training``,
    ``evaluation``, ``drawn`` (targets with matched ranks) and ``random`` (targets drawn from all classes).

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    require(frame, ["rank", "training", "evaluation", "drawn", "random"], "figure of ranks")
    figure = new_figure(height=4.0)
    axes = figure.subplots()
    places = frame["rank"].to_numpy(dtype=float)
    series = {
        "training": ("mistakes of the training part", _TRAINING),
        "evaluation": ("mistakes that are evaluated", _EVALUATION),
    }
    few = len(frame) <= _BARS
    for number, (name, (label, colour)) in enumerate(series.items()):
        shares = 100 * frame[name].to_numpy(dtype=float)
        if few:
            axes.bar(places + 0.38 * (number - 0.5), shares, width=0.36, color=colour, label=label)
        else:
            axes.plot(places + 1, shares, color=colour, linewidth=1.2, label=label)
    shift = 0 if few else 1
    look = {"marker": "o", "markersize": 5} if few else {}
    drawn = 100 * frame["drawn"].to_numpy(dtype=float)
    axes.plot(places + shift, drawn, color=INK, linewidth=1.4, label="targets with matched ranks", **look)
    random = 100 * frame["random"].to_numpy(dtype=float)
    axes.plot(places + shift, random, color=SOFT, linestyle="--", linewidth=1.4, label="random targets")
    axes.set_ylabel("Share (%)")
    axes.set_ylim(0, 1.08 * np.nanmax([*frame[["training", "evaluation"]].max() * 100, drawn.max(), random.max()]))
    if few:
        axes.set_xlabel("Classes ahead of the wanted one in the pre-trained model's answer")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=_BARS))
        axes.set_xlim(places.min() - 0.6, places.max() + 0.6)
        only_horizontal_grid(axes)
    else:
        axes.set_xlabel("Place of the wanted class in the pre-trained model's answer (1: the answer itself)")
        axes.set_xscale("log")
        axes.set_xlim(1, len(frame))
    figure.legend(loc="outside upper left", ncols=2, columnspacing=1.4)
    return figure
