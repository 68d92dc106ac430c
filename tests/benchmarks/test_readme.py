"""What the README says can be done is done here: a data set, an architecture, their configuration, a metric."""

import dataclasses
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

import benchmarks
import editors
from benchmarks import datasets, models
from benchmarks.metrics import Column
from benchmarks.scoring.measures import IMAGES
from benchmarks.scoring.requests import draw_requests
from benchmarks.scoring.scorer import Scorer

ROOM = Path(benchmarks.__file__).parent
README = (ROOM / "README.md").read_text(encoding="utf-8")
DATASET, ARCHITECTURE, METRIC = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(CONFIGURATION,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's files, registered for one test."""
    models.available()
    for registry, code in ((datasets._loaders, DATASET), (models._registered, ARCHITECTURE)):
        before = set(registry)
        exec(compile(code, "benchmarks/README.md", "exec"), {"__name__": "benchmarks.readme"})
        (name,) = set(registry) - before
        made = registry.pop(name)
        monkeypatch.setitem(registry, name, made)


def test_every_package_and_file_at_the_top_is_named():
    packages = {path.parent.name for path in ROOM.glob("*/__init__.py")} | {"configs"}
    assert set(re.findall(r"^\| `(\w+)/` \|", README, re.MULTILINE)) == packages
    assert set(re.findall(r"`(\w+\.py)`", README)) >= {path.name for path in ROOM.glob("*.py")}
    for path in re.findall(r"`(\w+/\w+\.py)`", README):
        assert (ROOM / path).is_file()


def test_the_data_set_the_architecture_and_the_metric_work_together(added):
    data = datasets.make("stripes", tuning_size=50)
    assert (len(data.train), len(data.tuning), len(data.test)) == (350, 50, 200)
    assert datasets.make("stripes").fingerprint() == datasets.make("stripes").fingerprint()
    torch.manual_seed(0)
    model = models.make("two_layers", channels=1, classes=2, width=8)
    scorer = Scorer(model, "head", data, data.test, draw_requests(data.test, 2, 6, "readme"))
    edits, _ = scorer.edit(editors.build("polyak", max_steps=20), range(6))
    records = pd.DataFrame([dataclasses.asdict(scorer.record(row, edit)) for row, edit in enumerate(edits)])
    found: dict = {"pd": pd}
    exec(METRIC, found)
    shown = {"error_after": eval(re.search(r'`"error_after": (Column\(.*?\))`', README)[1], {"Column": Column})}
    means = {**IMAGES.means, "error_after": found["error_after"]}
    measures = dataclasses.replace(IMAGES, means=means, columns={**IMAGES.columns, **shown})
    errors = [100 * (scorer.after(edit).labels != scorer.labels).double().mean().item() for edit in edits]
    assert measures.summarise(records)["error_after"].value == pytest.approx(sum(errors) / 6)
    assert records["succeeded"].all()


def test_the_configuration_is_one(added):
    from pipelines.tasks.images.settings import ImageBenchmark

    chosen = ImageBenchmark.model_validate(yaml.safe_load(CONFIGURATION))
    assert (chosen.data.dataset, chosen.model.architecture) == ("stripes", "two_layers")
