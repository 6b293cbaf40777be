"""The panel "Compare" with another method: what is known isn't asked again, and the chosen answer is explained."""

from PIL import Image

from demo.panels.compare import answered_by_method, answered_html, map_note
from demo.visit import asking


def test_another_method_asks_nothing_again_and_explains_the_picked_answer(tiny_predictor, tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(path)
    reply = asking.ask(tiny_predictor, str(path), None, "what color is the square?")
    assert map_note(reply, "grad_cam") == "map: grad cam"
    chosen = reply.prediction.answers[1].text
    reply = asking.explain_again(tiny_predictor, reply, "grad_cam", chosen).reply
    expected = tiny_predictor.explain(reply.photo.encoded, reply.prediction.question, "raw_attention", chosen)
    for known in ("encode", "answer", "ask"):
        monkeypatch.delattr(type(tiny_predictor), known)
    answered = answered_by_method(tiny_predictor, reply, "raw_attention")
    assert answered.answers is reply.prediction.answers and answered.name == "ours, raw attention"
    assert (answered.explanation.image_map == expected.image_map).all()
    assert f"explaining “{chosen}”" in answered_html([answered])
