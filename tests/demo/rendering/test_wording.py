"""Shares are readable, and have enough digits where a change is to be seen."""

import pytest

from demo.rendering.wording import exact_percent, percent


def test_percentages_are_readable():
    assert [percent(share) for share in (0, 0.0004, 0.007, 0.099, 0.0996, 0.62, 1)] == [
        "0.0 %",
        "&lt; 0.1 %",
        "0.7 %",
        "9.9 %",
        "10 %",
        "62 %",
        "100 %",
    ]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.81, "81%"), (0.974, "97.4%"), (0.0023, "0.23%"), (0.9977, "99.77%"), (0.05, "5.0%")]
)
def test_what_hiding_does_has_enough_digits_to_be_seen(share, expected):
    assert exact_percent(share) == expected
    odds = share / (1 - share) / 1.3
    assert exact_percent(odds / (1 + odds)) != expected
