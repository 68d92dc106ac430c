"""Figure 2: which classes an edit harms, which edits resemble each other, how many directions they take."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from pipelines.reporting.figures import style
from pipelines.reporting.figures.labels import place_labels
from pipelines.store.layout import KEYS

_DARKEST, _LIGHTEST = 0.45, 0.6
"""How much of black and of white is mixed into the colours of the first and the last target."""
_CHANGE = LinearSegmentedColormap.from_list("change", ["#0072B2", "white", "#B34700"])
"""Blue mends, red breaks: Okabe and Ito's, through white."""
_NUMBERS = 10
"""Up to this many classes, the squares of the matrix hold their numbers and the groups of edits their names."""
_TICKS, _LETTERS = 12, 18  # at most, of names beside the matrix: more would stand on each other, or press it flat


@style.styled
def figure2(confusion: pd.DataFrame, tsne: pd.DataFrame, variance: pd.DataFrame) -> Figure:
    """A row of panels per model, in the order of ``confusion``, and one panel of explained variance for all.

    Every frame has the columns ``training, editor, layers``, which tell the models apart, and besides

    - ``confusion``: ``edited_class, class, drawdown_signed`` (percentage points), classes in their order;
    - ``tsne``: ``edited_class, target, x, y``, one row per edit;
    - ``variance``: ``components, explained`` (cumulative, percent).
    """
    models = confusion[KEYS].drop_duplicates()
    titles = _titles(models)
    figure = style.new_figure(width=9.5, height=0.5 + 3.0 * len(models))
    grid = figure.add_gridspec(len(models), 3, width_ratios=[1.12, 1.0, 0.95])
    size = 9 if len(models) > 1 else 11
    largest = float(np.nanmax(confusion["drawdown_signed"].abs()))
    curves, maps = figure.add_subplot(grid[:, 2]), []
    looks = style.curve_looks(models)
    for place, (title, (_, model), look) in enumerate(zip(titles, models.iterrows(), looks, strict=True)):
        squares, edits, explained = (frame[(frame[KEYS] == model).all(axis=1)] for frame in (confusion, tsne, variance))
        names = list(dict.fromkeys(squares["class"].astype(str)))
        matrix, map_of_edits = figure.add_subplot(grid[place, 0]), figure.add_subplot(grid[place, 1])
        _draw_matrix(matrix, squares, names, largest)
        _draw_edits(map_of_edits, edits, names)
        for axes, what in ((matrix, "Drawdown by class"), (map_of_edits, "t-SNE of edits")):
            axes.set_title(f"{what}\n{title}" if len(models) > 1 else what, fontsize=size)
        curves.plot(explained["components"], explained["explained"], linewidth=2, label=title, **look | {"marker": ""})
        maps.append((map_of_edits, edits, names))
    _finish_curves(curves)
    for axes, edits, names in maps:
        if len(names) <= _NUMBERS:
            _name_groups(figure, axes, edits, names)
    return figure


def _titles(models: pd.DataFrame) -> list[str]:
    """What tells a model from the others: its training; editor and layers only where they differ."""
    if len(models[["editor", "layers"]].drop_duplicates()) > 1:
        return [style.row_title(model, between=", ") for model in models.to_dict("records")]
    return [style.shown(training) for training in models["training"]]


def _draw_matrix(axes: Axes, rows: pd.DataFrame, names: list[str], largest: float) -> None:
    """Classes of edited images by classes of control images, coloured by the mean change of error."""
    rows = rows.astype({"edited_class": str, "class": str})
    values = rows.pivot(index="edited_class", columns="class", values="drawdown_signed").loc[names, names].to_numpy()
    squares = axes.imshow(values, cmap=_CHANGE, vmin=-largest, vmax=largest, aspect="equal")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    every = -(-len(names) // _TICKS)
    ticks, words = range(0, len(names), every), [style.shown(name, _LETTERS) for name in names[::every]]
    axes.set_xticks(ticks, words, rotation=90 if max(map(len, words)) > 2 else 0, fontsize=8)
    axes.set_yticks(ticks, words, fontsize=8)
    axes.set_xlabel("class of the control images")
    axes.set_ylabel("class of the edited image")
    if len(names) <= _NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.6 * largest else style.INK
                text = str(round(value)).replace("-", "−")
                axes.text(column, row, text, ha="center", va="center", fontsize=6.8, color=colour)
    bar = axes.figure.colorbar(squares, ax=axes, shrink=0.85, pad=0.02)
    bar.ax.set_title("points", fontsize=8, fontweight="normal", loc="left")
    bar.ax.tick_params(labelsize=8, length=2)
    bar.ax.set_ylim(min(float(np.nanmin(values)), 0.0), largest)
    bar.outline.set_visible(False)


def _draw_edits(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """Edits as points: hue by the class of the edited image, brightness by the target."""
    order = {name: number for number, name in enumerate(names)}
    labels, targets = (rows[column].astype(str).map(order) for column in ("edited_class", "target"))
    colours = [class_colour(label, target, len(names)) for label, target in zip(labels, targets, strict=True)]
    size = float(np.clip(6000 / max(len(rows), 1), 3, 18))
    axes.scatter(rows["x"], rows["y"], s=size, c=colours, linewidths=0)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#c9cfda")
    axes.set_box_aspect(1)
    axes.set_xlabel("colour: class of the edited image\ndark to light: its target, first to last class", fontsize=8)


def _name_groups(figure: Figure, axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """The name of each class of edited images where its edits are, none over another, all within the axes."""
    groups = {place: rows.loc[rows["edited_class"].astype(str) == name, ["x", "y"]] for place, name in enumerate(names)}
    groups = {place: group.to_numpy(dtype=float) for place, group in groups.items() if len(group)}
    looks = [{"color": class_colour(place, 0, len(names)), "weight": "bold", "fontsize": 8} for place in groups]
    between = (np.linalg.norm(group[:, None] - group[None], axis=2).sum(axis=1) for group in groups.values())
    medoids = [group[far.argmin()] for group, far in zip(groups.values(), between, strict=True)]
    middles = np.array(medoids).reshape(-1, 2)
    texts, distances = [style.shown(names[place], _LETTERS) for place in groups], (0, 6, 12, 18, 26, 36, 48, 62, 80)
    place_labels(figure, axes, middles, texts, distances=distances, looks=looks)


def _finish_curves(axes: Axes) -> None:
    """Cumulative explained variance against the number of components, a line per model."""
    axes.set_box_aspect(1.1)
    axes.set_anchor("N")
    style.logarithmic(axes.xaxis, (1.0, 2.0, 5.0))
    axes.set_xlim(left=1)
    axes.set_ylim(0, 100)
    axes.set_xlabel("SVD components")
    axes.set_ylabel("explained variance (%)")
    axes.set_title("Dimension of the edits")
    if len(axes.lines) > 1:  # below, where long names fit
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))
    else:
        axes.legend(loc="lower right")


def class_colour(label: int, target: int, classes: int) -> tuple[float, float, float]:
    """RGB of an edit: hue by the class of the edited image, lightness from dark to light by the target."""
    colour = np.array(to_rgb(style.MUTED[label % len(style.MUTED)]))
    shade = 2 * target / max(classes - 1, 1) - 1
    mixed = colour * (1 + _DARKEST * shade) if shade < 0 else colour + _LIGHTEST * shade * (1 - colour)
    return tuple(float(part) for part in mixed)
