"""The evidence says its numbers, has words for every verdict, and escapes the answer."""

from fake_predictor import FakePredictor

from demo.rendering.evidence import VERDICT_WORDS, evidence_html
from valm_core.evidence.rules import VERDICTS

HOSTILE = "<img src=x onerror=alert(1)>"


def test_evidence_says_its_numbers_and_escapes_the_answer():
    predictor = FakePredictor()
    html = evidence_html(predictor.evidence(None, "what?", answer=HOSTILE), 0.62)
    assert "where it looked matters<" in html and "verdict-matters" in html
    assert "the 5%, 20%, 50%, 90% of the photo" in html and "from 81% to 61%, 45%, 32%, 20%;" in html
    assert "(mean of 16 draws) moves it to 80%, 80%, 79%, 70%." in html
    assert "<img" not in html and "&lt;img" in html
    assert "question 62 %" in html and "not the explained answer" in html and "What attention can’t show" in html
    assert "verdict" not in evidence_html(None, 0.62).replace("The verdict is", "")


def test_every_verdict_has_its_own_words():
    assert tuple(VERDICT_WORDS) == VERDICTS and len(set(VERDICT_WORDS.values())) == len(VERDICTS)
