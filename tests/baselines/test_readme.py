"""The example of baselines/README.md runs, and prepares a model for edits."""

import re
from pathlib import Path

from baselines.checkpointing import CHECKPOINT

README = Path(__file__).parents[2] / "baselines" / "README.md"


def test_the_example_trains_a_model_and_its_editor(monkeypatch, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert "epochs=30" in code
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    # Some edits are drawn with the answer that the network gives already, and take no step: eight batches have others.
    exec(code.replace("epochs=30", "epochs=1").replace('make("digits")', 'make("digits", test_size=1000)'), names)
    kept = names["trained"].kept
    assert kept.epoch == 1
    assert kept.parts["edit_steps"] > 0
    assert names["objective"].editor_parameters()["lr"] != 1e-3
    assert (tmp_path / "checkpoints" / CHECKPOINT).exists()


def test_every_module_is_named():
    modules = {path.name for path in README.parent.glob("*.py")} - {"__init__.py"}
    assert modules == set(re.findall(r"\]\((\w+\.py)\)", README.read_text()))
