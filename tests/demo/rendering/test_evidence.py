"""The evidence says its numbers and escapes the answer."""

from fake_predictor import FakePredictor

from demo.rendering.evidence import evidence_html

HOSTILE = "<img src=x onerror=alert(1)>"


def test_evidence_says_its_numbers_and_escapes_the_answer():
    predictor = FakePredictor()
    html = evidence_html(predictor.evidence(None, "what?", answer=HOSTILE), 0.62)
    assert "faithful" in html and "verdict-faithful" in html
    assert "from 81% to 32%" in html and "(mean of 8 draws) moves it to 79%" in html
    assert "<img" not in html and "&lt;img" in html
    assert "question 62 %" in html and "not the explained answer" in html and "What attention can’t show" in html
    assert "verdict" not in evidence_html(None, 0.62).replace("The verdict is", "")
