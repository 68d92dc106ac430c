"""Studies that were interrupted, as a full disk leaves them."""

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.errors import InputError
from pipelines import tune


def study(journal):
    storage = JournalStorage(JournalFileBackend(str(journal)))
    return optuna.create_study(storage=storage, study_name="one", load_if_exists=True)


def test_a_study_goes_on_from_its_last_whole_line(tmp_path):
    journal = tmp_path / "one.journal"
    study(journal).optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    whole = journal.read_bytes()
    for cut in (1, 7, len(whole) - whole[:-1].rfind(b"\n") - 2):
        journal.write_bytes(whole[:-cut])
        tune._check_journal(journal)
        assert journal.read_bytes() == whole[: whole[:-1].rfind(b"\n") + 1]
        found = study(journal)
        found.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        assert len(study(journal).trials) == 3
    tune._check_journal(tmp_path / "none.journal")


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b"3", b"\xff"])
def test_a_study_with_a_broken_line_is_refused(tmp_path, line):
    journal = tmp_path / "one.journal"
    study(journal)
    journal.write_bytes(line + b"\n" + journal.read_bytes())
    with pytest.raises(InputError, match=r"one\.journal is not a readable study: remove it"):
        tune._check_journal(journal)
