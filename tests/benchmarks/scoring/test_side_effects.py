"""Side effects of an edit, on answers that are written down; records of real edits are compared in test_records."""

import pandas as pd
import pytest
import torch

from benchmarks.scoring.side_effects import FIELDS, calibration_error, measured, on_control

LABELS = torch.tensor([0, 0, 1, 1, 1])
BEFORE = torch.tensor([[0.9, 0.1], [0.49, 0.51], [0.2, 0.8], [0.52, 0.48], [0.3, 0.7]]).log()
AFTER = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.52, 0.48], [0.8, 0.2]]).log()


def found(before=BEFORE, after=AFTER):
    return dict(zip(FIELDS, on_control(before, after, LABELS).tolist(), strict=False))


def test_flips_in_each_direction_sensitive_images_and_classes_are_told_apart():
    effects = found()
    assert effects["broken"] == 1  # the last image; the second is mended
    assert (effects["sensitive"], effects["sensitive_wrong_before"], effects["sensitive_wrong_after"]) == (2, 2, 1)
    assert effects["worst_class"] == pytest.approx(100 / 3)  # class 0 falls by 50 points
    assert effects["class_spread"] == pytest.approx((100 / 3 + 50) / 2)


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy_in_bins():
    # Bins of 1/15: 0.51 and 0.52 share one, both wrong; 0.7, 0.8 and 0.9 stand alone, all right.
    assert float(calibration_error(BEFORE, LABELS)) == pytest.approx(100 * (0.51 + 0.52 + 0.3 + 0.2 + 0.1) / 5)
    assert found()["calibration_before"] == pytest.approx(100 * (0.51 + 0.52 + 0.3 + 0.2 + 0.1) / 5)


def test_an_edit_that_changes_nothing_has_none_and_no_number_is_wrong_and_sure():
    same = found(after=BEFORE)
    assert same["broken"] == same["worst_class"] == same["class_spread"] == 0
    assert same["calibration_after"] == same["calibration_before"]
    lost = found(after=torch.full_like(BEFORE, torch.nan))
    assert lost["broken"] == 3
    assert lost["calibration_after"] == pytest.approx(100)


def test_numbers_of_tables_follow_from_counts():
    row = {"control_size": 200, "wrong_before": 20, "wrong_after": 26, "broken": 10, "sensitive": 8}
    row |= {"sensitive_wrong_before": 4, "sensitive_wrong_after": 6, "worst_class": 9.5, "class_spread": 2.5}
    row |= {"calibration_before": 3.0, "calibration_after": 4.5}
    row |= {"corrupted": 10, "corrupted_wrong_before": 5, "corrupted_wrong_after": 4}
    table = measured(pd.DataFrame([row, row | {"sensitive": 0}]))
    assert table.loc[0].tolist() == pytest.approx([5.0, 2.0, 25.0, 9.5, 2.5, -10.0, 1.5])
    assert pd.isna(table.loc[1, "sensitive"])
