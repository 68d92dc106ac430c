"""Figure 2: which classes an edit harms, which edits resemble each other, how many directions they take."""

import matplotlib.patheffects
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from pipelines.jobs.cells import KEYS
from pipelines.reporting.figures.checks import require
from pipelines.reporting.figures.labels import settle
from pipelines.reporting.figures.style import INK, editor_title, layers_title, new_figure, styled

# Paul Tol's muted scheme and a grey, https://sronpersonalpages.nl/~pault/; beyond ten classes they come again.
_CLASS_COLOURS = (
    "#CC6677",
    "#332288",
    "#BBA030",
    "#117733",
    "#4FA8D8",
    "#882255",
    "#44AA99",
    "#87872B",
    "#AA4499",
    "#666666",
)
_DARKEST, _LIGHTEST = 0.45, 0.6
"""How much of black and of white is mixed into the colours of the first and the last target."""
# Blue mends, red breaks: Okabe and Ito's, through white.
_MENDS, _BREAKS = "#0072B2", "#B34700"
_LINES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_NUMBERS = 10
"""Up to this many classes, the squares of the matrix hold their numbers and the groups of edits their names."""


@styled
def figure2(confusion: pd.DataFrame, tsne: pd.DataFrame, variance: pd.DataFrame) -> Figure:
    """A row of panels per model, in the order of ``confusion``, and one panel of explained variance for all.

    Every frame has the columns ``training, editor, layers``, which tell the models apart, and besides

    - ``confusion``: ``edited_class, class, drawdown_signed`` (percentage points), classes in their order;
    - ``tsne``: ``edited_class, target, x, y``, one row per edit;
    - ``variance``: ``components, explained`` (cumulative, percent).

    Raises:
        ValueError: when there are no rows or a column is missing.
    """
    require(confusion, [*KEYS, "edited_class", "class", "drawdown_signed"], "matrix of Figure 2")
    require(tsne, [*KEYS, "edited_class", "target", "x", "y"], "t-SNE of Figure 2")
    require(variance, [*KEYS, "components", "explained"], "explained variance of Figure 2")
    models = list(confusion[KEYS].drop_duplicates().itertuples(index=False, name=None))
    figure = new_figure(width=9.5, height=0.5 + 3.0 * len(models))
    grid = figure.add_gridspec(len(models), 3, width_ratios=[1.12, 1.0, 0.95])
    maps = []
    largest = float(np.nanmax(confusion["drawdown_signed"].abs()))
    for row, model in enumerate(models):
        matrix, map_of_edits = figure.add_subplot(grid[row, 0]), figure.add_subplot(grid[row, 1])
        name = f"\n{_name(model, models)}" if len(models) > 1 else ""
        size = 9 if name else 11
        _draw_matrix(matrix, _of(confusion, model), largest)
        matrix.set_title(f"Drawdown by class{name}", fontsize=size)
        classes = [str(name) for name in _of(confusion, model)["class"].unique()]
        _draw_edits(map_of_edits, _of(tsne, model), classes)
        map_of_edits.set_title(f"t-SNE of edits{name}", fontsize=size)
        maps.append((map_of_edits, _of(tsne, model), classes))
    _draw_variance(figure.add_subplot(grid[:, 2]), variance, models)
    settle(figure)
    for map_of_edits, rows, classes in maps:
        if len(classes) <= _NUMBERS:
            _name_groups(map_of_edits, rows, classes)
    return figure


def _draw_matrix(axes: Axes, rows: pd.DataFrame, largest: float) -> None:
    """Classes of edited images by classes of control images, coloured by the mean change of error."""
    names = list(dict.fromkeys(rows["class"]))
    values = rows.pivot(index="edited_class", columns="class", values="drawdown_signed").loc[names, names].to_numpy()
    shown = axes.imshow(values, cmap=_diverging(), vmin=-largest, vmax=largest, aspect="equal")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    long = any(len(str(name)) > 2 for name in names)
    axes.set_xticks(range(len(names)), names, rotation=90 if long else 0, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("class of the control images")
    axes.set_ylabel("class of the edited image")
    if len(names) <= _NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.6 * largest else INK
                text = str(round(value)).replace("-", "−")
                axes.text(column, row, text, ha="center", va="center", fontsize=6.8, color=colour)
    bar = axes.figure.colorbar(shown, ax=axes, shrink=0.85, pad=0.02)
    bar.ax.set_title("points", fontsize=8, fontweight="normal", loc="left")
    bar.ax.tick_params(labelsize=8, length=2)
    bar.ax.set_ylim(min(float(np.nanmin(values)), 0.0), largest)
    bar.outline.set_visible(False)


def _draw_edits(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """Edits as points: hue by the class of the edited image, brightness by the target."""
    order = {name: number for number, name in enumerate(names)}
    labels, targets = (rows[column].astype(str).map(order).to_numpy() for column in ("edited_class", "target"))
    points = rows[["x", "y"]].to_numpy(dtype=float)
    colours = [class_colour(label, target, len(names)) for label, target in zip(labels, targets, strict=True)]
    size = float(np.clip(6000 / max(len(rows), 1), 3, 18))
    axes.scatter(*points.T, s=size, c=colours, linewidths=0)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#c9cfda")
    axes.set_box_aspect(1)
    axes.set_xlabel("colour: class of the edited image\ndark to light: its target, first to last class", fontsize=8)


def _name_groups(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """The name of each class of edited images where its edits are, none over another, all within the axes."""
    groups = [(number, rows[rows["edited_class"].astype(str) == name]) for number, name in enumerate(names)]
    halo = [matplotlib.patheffects.withStroke(linewidth=2.5, foreground="white")]
    texts = []
    for number, group in groups:
        if len(group):
            place = axes.transLimits.transform(_medoid(group[["x", "y"]].to_numpy(dtype=float)))
            look = {"color": class_colour(number, 0, len(names)), "weight": "bold", "size": 8, "path_effects": halo}
            texts.append(axes.text(*place, names[number], transform=axes.transAxes, ha="center", va="center", **look))
    inverse = axes.transAxes.inverted()
    boxes = [text.get_window_extent().transformed(inverse) for text in texts]
    places = np.array([text.get_position() for text in texts]).reshape(-1, 2)
    sizes = np.array([box.size for box in boxes]).reshape(-1, 2)
    for text, place in zip(texts, _apart(places, sizes), strict=True):
        text.set_position(tuple(place))


def _draw_variance(axes: Axes, variance: pd.DataFrame, models: list[tuple[str, ...]]) -> None:
    """Cumulative explained variance against the number of components, a line per model."""
    for number, model in enumerate(models):
        rows = _of(variance, model)
        axes.plot(
            rows["components"],
            rows["explained"],
            color=_LINE_COLOURS[number % len(_LINE_COLOURS)],
            linestyle=_LINES[number % len(_LINES)],
            linewidth=2,
            label=_name(model, models),
        )
    axes.set_box_aspect(1.1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(left=1)
    axes.set_ylim(0, 100)
    axes.set_xlabel("SVD components")
    axes.set_ylabel("explained variance (%)")
    axes.set_title("Dimension of the edits")
    if len(models) > 1:  # below, where long names fit
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))
    else:
        axes.legend(loc="lower right")


def class_colour(label: int, target: int, classes: int) -> tuple[float, float, float]:
    """RGB of an edit: hue by the class of the edited image, lightness from dark to light by the target."""
    colour = np.array(to_rgb(_CLASS_COLOURS[label % len(_CLASS_COLOURS)]))
    shade = 2 * target / max(classes - 1, 1) - 1
    mixed = colour * (1 + _DARKEST * shade) if shade < 0 else colour + _LIGHTEST * shade * (1 - colour)
    return tuple(float(part) for part in mixed)


def _diverging() -> ListedColormap:
    ends = [np.array(to_rgb(colour)) for colour in (_MENDS, _BREAKS)]
    steps = np.linspace(-1, 1, 255)
    return ListedColormap([1 - abs(step) * (1 - ends[int(step > 0)]) for step in steps])


def _medoid(points: np.ndarray) -> np.ndarray:
    """The point (2,) of (N, 2) that is nearest to all others."""
    return points[np.linalg.norm(points[:, None] - points[None], axis=2).sum(axis=1).argmin()]


def _apart(places: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Centres (N, 2) of names, as fractions of the axes, moved until the names (N, 2: width, height) are apart.

    Each pair moves up and down, or sideways where that is shorter.
    """
    edge = sizes / 2 + 0.01
    places = places.clip(edge, 1 - edge)
    needed = (sizes[:, None] + sizes[None]) / 2 + 0.01
    order = np.arange(len(places))
    for _ in range(300):
        apart = places[:, None] - places[None]
        lacking = needed - np.abs(apart)
        lacking[order, order] = 0.0
        covers = (lacking > 0).all(axis=2, keepdims=True)
        if not covers.any():
            break
        shorter = lacking == lacking.min(axis=2, keepdims=True)
        direction = np.where(apart == 0, np.sign(order[:, None] - order)[..., None], np.sign(apart))
        places = (places + 0.3 * (lacking * direction * covers * shorter).sum(axis=1)).clip(edge, 1 - edge)
    return places


def _of(frame: pd.DataFrame, model: tuple[str, ...]) -> pd.DataFrame:
    return frame[(frame[KEYS] == list(model)).all(axis=1)]


def _name(model: tuple[str, ...], models: list[tuple[str, ...]]) -> str:
    """What tells a model from the others: its training; editor and layers only where they differ."""
    training, editor, layers = model
    differ = len({other[1:] for other in models}) > 1
    return f"{training}, {editor_title(editor)}, {layers_title(layers)}" if differ else training
