"""Menus, captions, marks and what is announced agree with what is drawn."""

import dataclasses
from types import SimpleNamespace
from typing import ClassVar
from urllib.parse import parse_qsl

import gradio as gr
import pytest
from fake_predictor import FakePredictor
from PIL import Image

from demo.languages.translate import speaking
from demo.page.events import Page
from demo.page.returning import Returning
from demo.page.wiring import build_page
from demo.server.leaving import MAX_GIVING_WAY, StoppingBlocks
from demo.visit import asking, browser_storage, conversation, history
from demo.visit.map_parts import ALL
from demo.visit.printed import Printed, with_read
from demo.visit.uploads import get_upload_folder
from valm_core.inputs.question import MAX_QUESTION_CHARACTERS
from valm_core.outputs import Answer
from valm_core.stopping import stop_if_unwanted, stopping_when
from valm_core.vision_language.families import SHORT
from valm_core.vision_language.predictor import EncodedPhoto

LOOK = ("text_to_image", 0, 0, 55, False, False, "map", "evenness")  # a head is selected


@pytest.fixture
def page(monkeypatch) -> Page:
    """The callbacks of a page around the fake predictor."""
    made = []
    monkeypatch.setattr("demo.page.wiring.Page", lambda *arguments: made.append(Page(*arguments)) or made[-1])
    made[:0] = []
    build_page(FakePredictor())
    return made[0]


@pytest.fixture
def upload(tmp_path, monkeypatch):
    """``upload(number)``: the path of a photo that was uploaded."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))

    def make(number: int) -> str:
        path = asking.Path(get_upload_folder()) / f"{number}" / "photo.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (number, 30, 30)).save(path)
        return str(path)

    return make


def test_evidence_is_shown_beside_its_own_map_only(page, upload):
    path = upload(1)
    reply = asking.ask(page.predictor, path, None, "What color?")
    weighed = page.weigh(reply, None)
    assert weighed.evidence is not None
    assert page.weigh(reply, weighed) == page.weigh(weighed, None) == page.weigh(None, None) == gr.skip()
    awaited = page.present(reply, asking.Selection(), "", *LOOK)
    assert "Checking where" in awaited[page.result.sentence] and "place-mattered" not in awaited[page.doubt.evidence]
    shown = page.show_found(weighed, None, reply, (), path)
    assert "Checking where" not in shown[page.result.sentence]
    assert 'id="place-mattered"' in shown[page.doubt.evidence]
    assert shown[page.memory.reply].evidence is weighed.evidence
    assert shown[page.memory.kept][0].replies == (shown[page.memory.reply],)
    other = asking.explain_again(page.predictor, reply, "random", reply.answer).reply
    for known, current in ((weighed, other), (weighed, None), (None, reply), (weighed, shown[page.memory.reply])):
        assert page.show_found(known, None, current, (), path) == {page.memory.reply: gr.skip()}


def test_evidence_and_what_was_read_never_undo_each_other(page, upload):
    path = upload(1)
    reply = asking.ask(page.predictor, path, None, "What color?")
    weighed, read = page.weigh(reply, None), with_read(reply, Printed(message="No words on it."))
    shown = page.show_found(weighed, read, reply, (), path)  # both were found out before either was shown
    both = shown[page.memory.reply]
    assert both.evidence is weighed.evidence and both.read is read.read
    assert "No words on it." in shown[page.result.printed] and 'id="place-mattered"' in shown[page.doubt.evidence]
    assert page.show_found(weighed, read, both, (), path) == {page.memory.reply: gr.skip()}
    first = page.show_found(None, read, reply, (), path)
    assert page.doubt.evidence not in first and first[page.memory.reply].evidence is None
    then = page.show_found(weighed, read, first[page.memory.reply], (), path)
    assert page.result.printed not in then and then[page.memory.reply].read is read.read
    other = asking.ask(page.predictor, path, None, "How many?")
    assert page.show_found(weighed, read, other, (), path) == {page.memory.reply: gr.skip()}


class Unfamiliar(FakePredictor):
    """Finds every photo unfamiliar, as a page of text is."""

    def answer(self, image, question, top=5):
        """As the fake's."""
        return dataclasses.replace(super().answer(image, question, top), unfamiliar=("photo",))


def test_what_is_read_is_of_the_photo_that_was_asked_about(page, upload, monkeypatch):
    """The photo's path is that of now, the reply that of when its turn came: another photo may lie there already."""
    receipt, other = upload(1), upload(2)
    reply = asking.ask(Unfamiliar(), receipt, None, "What is the total?")
    documents = []
    monkeypatch.setattr(page, "reader", object())
    monkeypatch.setattr(
        "demo.page.events.read_printed", lambda reader, document, *rest: documents.append(document) or Printed()
    )
    page.read(receipt, reply, ())
    page.read(other, reply, ())
    assert documents[0] == receipt and documents[1] is reply.photo.picture


def test_a_method_chosen_while_a_page_was_read_keeps_what_was_read(page, upload):
    reply = asking.ask(page.predictor, upload(1), None, "What color?")
    again = asking.explain_again(page.predictor, reply, "random", reply.answer)
    meanwhile = with_read(reply, Printed(message="No words on it."))
    shown = page.on_map.show_again(again, meanwhile, asking.Selection(), *LOOK)
    assert shown[page.memory.reply].explanation.method == "random"
    assert shown[page.memory.reply].read is meanwhile.read


def test_the_history_never_has_another_photos_file(page, upload):
    first, second = upload(1), upload(2)
    reply = asking.ask(page.predictor, first, None, "What color?")
    assert page.remember((), first, reply)[page.memory.kept][0].path == first
    mixed = page.remember((), second, reply)[page.memory.kept]
    assert mixed[0].photo is reply.photo and mixed[0].path == ""
    kept = history.remember((), first, reply)
    later = asking.ask(page.predictor, first, None, "How many?")
    assert [one.path for one in history.remember(kept, second, later)] == [first]


def test_a_follow_up_is_understood_where_gradio_copied_the_photo(page, upload):
    path = upload(1)
    outcome = page.answer(path, None, "What animal is this?", (), None, 0)[page.memory.asked]
    copy = asking.Path(path).with_name("copy.png")
    copy.write_bytes(asking.Path(path).read_bytes())
    for here, known in ((path, True), (str(copy), True), (upload(2), False), (None, False)):
        assert (conversation.before(outcome, here) is not None) == known


def test_a_link_gives_way_to_a_visit_that_has_its_question(page, upload):
    example = page.examples[0]
    returning, question = Returning(page), example.questions[0]
    link = history.Link(photo=example.path.stem, question=question)
    asked = page.answer(str(example.path), None, question, (), None, 0)[page.memory.asked]
    reply = asking.ask(page.predictor, upload(1), None, "What color?")
    kept = history.remember(history.remember((), str(example.path), asked.reply), upload(1), reply)
    text = browser_storage.to_keep(kept, reply, page.examples)
    request = SimpleNamespace(query_params=dict(parse_qsl(history.to_query(link)[1:])))
    assert page.memory.linked in returning.open_page("", request)
    assert returning.open_page(text, request)[page.memory.kept_by_tab] == text
    assert page.memory.linked not in returning.open_page(text, request)
    less = browser_storage.to_keep(history.remember((), upload(1), reply), reply, page.examples)
    assert page.memory.linked in returning.open_page(less, request)


def test_evidence_gives_way_while_answers_wait_but_not_for_ever_nor_for_who_left(page, upload, monkeypatch):
    reply = asking.ask(page.predictor, upload(1), None, "What color?")
    blocks, waited, begun = StoppingBlocks(), [], []
    monkeypatch.setattr("demo.server.leaving.time", SimpleNamespace(monotonic=lambda: len(waited), sleep=waited.append))

    def work() -> str:
        begun.append(len(waited))
        stop_if_unwanted()
        return "done"

    busy = iter((True, True, False, True, True, False, False))  # one comes just when the work begins
    monkeypatch.setattr(blocks, "busy", lambda lane: next(busy))
    assert blocks.giving_way("model", work) == "done"
    assert begun == [2, 3]
    monkeypatch.setattr(blocks, "busy", lambda lane: lane == "model")
    waited.clear()
    assert blocks.giving_way("model", work) == "done" and len(waited) == MAX_GIVING_WAY
    page.giving_way = page.on_map.giving_way = lambda work: blocks.giving_way("model", work)
    with stopping_when(lambda: True):
        assert page.weigh(reply, None) == gr.skip()
        assert page.on_map.judge_word(reply, asking.Selection(words=(0,))) is None
        monkeypatch.setattr(blocks, "busy", lambda lane: False)
        page.predictor.evidence = lambda *asked: stop_if_unwanted()
        assert page.weigh(reply, None) == gr.skip()
    assert page.predictor.calls["evidence"] == 0


def test_a_picked_head_is_reset_by_a_method_without_heads(page, upload):
    reply = asking.ask(page.predictor, upload(1), None, "What color?")
    again = asking.explain_again(page.predictor, reply, "random", reply.answer)
    updates = page.on_map.show_again(again, reply, asking.Selection(), *LOOK)
    for menu in (page.doubt.layer, page.doubt.head):
        assert updates[menu]["value"] == ALL and updates[menu]["visible"] is False
        assert [value for _, value in updates[menu]["choices"]] == [ALL]
    assert updates[page.map.subject].endswith("random · where the words looked · all layers and heads</p>")
    assert "isn’t made of layers and heads" in updates[page.doubt.heads]
    back = asking.explain_again(page.predictor, again.reply, "grad_cam", reply.answer)
    updates = page.on_map.show_again(back, again.reply, asking.Selection(), *LOOK)
    assert updates[page.doubt.head]["value"] == 0 and updates[page.doubt.head]["visible"] is True
    assert "attention in layer 1, head 1" in updates[page.map.subject]


def test_an_explanation_that_comes_after_another_question_is_dropped(page, upload):
    path = upload(1)
    reply, later = (asking.ask(page.predictor, path, None, question) for question in ("What color?", "Is it night?"))
    again = asking.explain_again(page.predictor, reply, "occlusion", reply.answer)
    assert page.on_map.show_again(again, later, asking.Selection(), *LOOK) == {page.memory.reply: gr.skip()}
    assert len(page.on_map.show_again(again, reply, asking.Selection(), *LOOK)) > 5
    # Nor is one begun while the later answer is on its way to the page; once it is there, one may go back from it.
    newest, chosen = asking.Outcome(path, later), ("occlusion", reply.answer)
    assert page.on_map.explain_again(reply, None, newest, (), *chosen) is None
    kept = history.remember((), path, later)
    for outcome, histories in ((newest, kept), (None, ()), (asking.Outcome(path, message="too long"), ())):
        assert page.on_map.explain_again(reply, None, outcome, histories, *chosen).asked is reply
    elsewhere = asking.Outcome(upload(2), asking.ask(page.predictor, upload(2), None, "Is it night?"))
    assert page.on_map.explain_again(reply, None, elsewhere, (), *chosen).asked is reply


def test_the_map_of_one_selected_word_is_judged(page, upload):
    reply = asking.ask(page.predictor, upload(1), None, "What color?")
    first, last = asking.Selection((0,)), asking.Selection((1,))
    judged = page.on_map.judge_word(reply, first)
    assert "Where “What” looked mattered." in page.on_map.show_judged(judged, reply, first)
    # Another word, several, or another answer are on the page meanwhile: what was found out isn't theirs.
    later = asking.ask(page.predictor, upload(1), None, "What color?")
    for current, selection in ((reply, last), (reply, asking.Selection((0, 1))), (later, first), (None, first)):
        assert page.on_map.show_judged(judged, current, selection) == ""
    same = page.on_map.show_judged(page.on_map.judge_word(reply, last), reply, last)
    assert "“color?” looked where “What” did: its map says nothing of this word alone." in same
    for current, selection in ((None, first), (reply, asking.Selection()), (reply, asking.Selection((0, 1)))):
        assert page.on_map.judge_word(current, selection) is None
    page.predictor.offers = frozenset()
    assert page.on_map.judge_word(reply, first) is None
    assert page.on_map.draw(reply, asking.Selection(), *LOOK)[page.map.word_verdict] == ""
    assert page.map.word_verdict not in page.on_map.draw(reply, first, *LOOK)


def test_a_new_answer_is_announced_and_what_is_picked_can_be_cleared(page, upload):
    reply = asking.ask(page.predictor, upload(1), None, "What <color>?")
    shown = page.present(reply, asking.Selection((0,), (3,)), "", LOOK[0], None, None, *LOOK[3:])
    best = reply.prediction.answers[0]
    assert shown[page.result.announcement].startswith(f"Answer to “What &lt;color&gt;?”: {best.text}, ")
    assert shown[page.map.clear]["interactive"] is True
    cleared = page.on_map.clear_selection(reply, *LOOK)
    assert cleared[page.memory.selected] == asking.Selection() and cleared[page.map.clear]["interactive"] is False
    assert page.no_result()[page.result.announcement] == ""


def test_the_strip_marks_the_photo_that_is_on_the_page(page, upload):
    histories = ()
    for number in (1, 2):
        reply = asking.ask(page.predictor, upload(number), None, "What?")
        histories = page.remember(histories, upload(number), reply)[page.memory.kept]
    mark = 'aria-current="true"'
    assert page.remember(histories, upload(2), reply)[page.ask.strip].count(f'data-item="1" {mark}') == 1
    assert mark not in page.forget_photo(upload(3), None, histories)[page.ask.strip]
    assert mark not in page.forget_photo(None, None, histories)[page.ask.strip]
    assert f'data-item="0" {mark}' in page.forget_photo(upload(1), None, histories)[page.ask.strip]


def test_a_reload_brings_the_visit_back_and_what_a_browser_makes_up_brings_nothing(page, upload, tmp_path):
    histories, reply = (), None
    for number, question in ((1, "What?"), (2, "Is it red?"), (1, "How many?")):
        reply = asking.ask(page.predictor, upload(number), None, question)
        kept = page.remember(histories, upload(number), reply)
        histories = kept[page.memory.kept]
    text = kept[page.memory.visit]
    back, current = browser_storage.bring_back(page.predictor, (), text)
    assert [(history.path, len(history.replies)) for history in back] == [(upload(1), 2), (upload(2), 1)]
    assert current.prediction.question == "How many?" and current.photo.digest == reply.photo.digest
    updates = Returning(page).come_back(text, *LOOK)
    assert updates[page.ask.photo] == upload(1) and updates[page.ask.question] == "How many?"
    assert browser_storage.to_keep((), None, ()) == "" and Returning(page).forget_visit()[page.memory.visit] == ""

    asking.Path(upload(1)).unlink()
    back, current = browser_storage.bring_back(page.predictor, (), text)
    assert [history.path for history in back] == [upload(2)] and current is None
    assert "deleted after a few hours" in Returning(page).come_back(text, *LOOK)[page.ask.notice]
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    made_up = browser_storage.json.dumps(
        {"photos": [{"upload": str(secret), "questions": ["What?"]}], "shown": [0, "What?"]}
    )
    for nonsense in (
        made_up,
        "",
        "{",
        "[]",
        "1",
        '{"photos": 3, "shown": 1}',
        '{"photos": [[]], "shown": null}',
        "9" * 50_000,
    ):
        assert browser_storage.bring_back(page.predictor, (), nonsense) == ((), None)


def test_the_question_box_stops_at_the_models_length_and_nothing_can_be_shared(page):
    assert page.ask.question.max_length == MAX_QUESTION_CHARACTERS
    buttons = [block.get_config().get("buttons") for block in build_page(FakePredictor()).blocks.values()]
    assert sum(found is not None and "fullscreen" in found for found in buttons) >= 6
    assert not any("share" in (found or ()) for found in buttons)


def test_no_picture_has_the_button_that_would_publish_it():
    config = build_page(FakePredictor()).get_config_file()
    kinds = ("image", "imageeditor", "imageslider")
    pictures = [part["props"] for part in config["components"] if part["type"] in kinds]
    assert len(pictures) == 6 and {"photo", "painted", "slider", "flip-picture"} <= {
        props.get("elem_id") for props in pictures
    }
    assert all(props["buttons"] and "share" not in props["buttons"] for props in pictures)


def test_a_quick_second_answer_leaves_the_first_in_the_visit(page, upload):
    """Both are answered before the page remembers either."""
    memory, path = page.memory, upload(1)
    first = page.answer(path, None, "What color?", (), None, 0)[memory.asked]
    second = page.answer(path, first.reply.photo, "How many?", (), first, 0)[memory.asked]
    (kept,) = page.remember((), path, second.reply, second, 0)[memory.kept]
    assert [reply.prediction.question for reply in kept.replies] == ["What color?", "How many?"]
    again = asking.explain_again(page.predictor, first.reply, "random", first.reply.answer).reply
    histories = page.remember((kept,), path, again, second, 0)[memory.kept]
    (kept,) = page.remember(histories, path, second.reply, second, 0)[memory.kept]
    assert kept.replies == (again, second.reply)  # a newer map isn't replaced by the one that waited


def test_nothing_of_a_forgotten_visit_comes_back(page, upload):
    memory, path = page.memory, upload(1)
    before = page.answer(path, None, "What color?", (), None, 0)[memory.asked]
    forgotten = Returning(page).forget_visit(0)
    assert forgotten[memory.visit_number] == 1 and forgotten[memory.kept] == () and forgotten[memory.asked] is None
    late = page.answer(path, None, "How many?", (), before, 0)[memory.asked]  # began before, ends after
    assert page.remember((), path, None, late, 1)[memory.kept] == ()
    assert page.show(late, path, 1, *LOOK) == {memory.reply: page.show(None, path, 1, *LOOK)[memory.reply]}
    new = page.answer(path, None, "Is it red?", (), late, 1)[memory.asked]
    (kept,) = page.remember((), path, new.reply, new, 1)[memory.kept]
    assert [reply.prediction.question for reply in kept.replies] == ["Is it red?"]


def test_an_answer_about_a_photo_that_is_gone_is_not_remembered(page, upload):
    memory = page.memory
    first = page.answer(upload(1), None, "What color?", (), None, 0)[memory.asked]
    second = page.answer(upload(2), None, "How many?", (), first, 0)[memory.asked]
    (kept,) = page.remember((), upload(2), second.reply, second, 0)[memory.kept]
    assert kept.path == upload(2) and len(kept.replies) == 1


def test_a_follow_up_says_what_was_asked_and_can_be_asked_exactly(page, upload):
    memory, path = page.memory, upload(1)
    first = page.answer(path, None, "What color is the <b>dog</b>?", (), None, 0)[memory.asked]
    assert page.show(first, path, 0, *LOOK)[page.result.asked_as] == ""
    first = page.answer(path, None, "What color is the dog?", (), None, 0)[memory.asked]
    second = page.answer(path, None, "What is it doing?", (), first, 0)[memory.asked]
    assert second.reply.prediction.question == "What is the dog doing?"
    shown = page.show(second, path, 0, *LOOK)
    assert "Asked as: <strong>What is the dog doing?</strong>" in shown[page.result.asked_as]
    assert "Ask exactly “What is it doing?”" in shown[page.result.asked_as]
    exact = page.answer_exactly(path, None, second.reply, (), second, 0)[memory.asked]
    assert exact.reply.prediction.question == "What is it doing?"
    assert page.show(exact, path, 0, *LOOK)[page.result.asked_as] == ""
    unclear = page.answer(path, None, "What is <i>she</i> doing?", (), second, 0)[memory.asked]
    assert unclear.reply.prediction.question == "What is <i>she</i> doing?"
    html = page.show(unclear, path, 0, *LOOK)[page.result.asked_as]
    assert "it isn’t certain what “she” stands for" in html and "<button" not in html
    other = page.answer(upload(2), None, "What is it doing?", (), first, 0)[memory.asked]
    assert other.reply.prediction.question == "What is it doing?"  # the dog was on another photo
    with speaking("zh"):
        assert (
            "实际提问：<strong>What is the dog doing?"
            in page.present(second.reply, asking.Selection(), "", "text_to_image", 0, 0, *LOOK[3:])[
                page.result.asked_as
            ]
        )


def test_who_goes_back_to_a_question_goes_on_from_there(page, upload):
    memory, path = page.memory, upload(1)
    first = page.answer(path, None, "What color is the dog?", (), None, 0)[memory.asked]
    second = page.answer(path, None, "What color is the cat?", (), first, 0)[memory.asked]
    histories = page.remember((), path, second.reply, second, 0)[memory.kept]
    event = SimpleNamespace(_data={"items": [0]})
    back = Returning(page).back_to_question(event, histories, second.reply, *LOOK)[memory.asked]
    third = page.answer(path, None, "What is it doing?", (), back, 0)[memory.asked]
    assert third.reply.prediction.question == "What is the dog doing?"


def test_a_wish_for_a_description_is_told_the_truth_and_gets_questions(page, upload):
    memory, path = page.memory, upload(1)
    outcome = page.answer(path, None, "Describe this picture", (), None, 0)[memory.asked]
    assert outcome.reply is None and page.predictor.calls["answer"] == 0
    shown = page.show(outcome, path, 0, *LOOK)
    assert "can’t describe a whole photo. What it finds most surely here: bus." in shown[page.ask.notice]
    offered = [shown[button]["value"] for button in page.ask.suggestions]
    assert offered[:2] == ["What color is the bus?", "Where is the bus?"] and all(offered)
    outcome = page.answer(path, None, "what is in this photo?", (), None, 0)[memory.asked]
    shown = page.show(outcome, path, 0, *LOOK)
    assert outcome.reply.prediction.question == "what is in this photo?" and "can’t describe" in shown[page.ask.notice]
    assert "Add a photo first" in page.answer(None, None, "Describe this", (), None, 0)[memory.asked].message


def test_a_wish_for_a_description_is_granted_where_there_is_a_model_for_it(page, upload, tiny_captioner):
    page.captioner = tiny_captioner
    memory, path = page.memory, upload(1)
    outcome = page.answer(path, None, "Describe this picture", (), None, 0)[memory.asked]
    assert outcome.reply is None and outcome.message == ""
    shown = page.show(outcome, path, 0, *LOOK)[page.ask.notice]
    said = tiny_captioner.describe(asking.Path(path).read_bytes())
    assert f'lang="en">{said.text}</p>' in shown and "can’t describe" not in shown
    assert shown.count('type="radio"') == shown.count("data:image/jpeg;base64,") == len(said.words)
    assert f"“{said.words[0].text}”: {said.words[0].probability:.0%} likely after the words before it" in shown
    outcome = page.answer(path, None, "what is in this photo?", (), None, 0)[memory.asked]
    both = page.show(outcome, path, 0, *LOOK)
    assert outcome.reply.prediction.question == "what is in this photo?" and said.text in both[page.ask.notice]
    other = page.answer(path, None, "Is it day or night?", (), outcome, 0)[memory.asked]
    assert said.text not in page.show(other, path, 0, *LOOK)[page.ask.notice]


def test_a_photo_brings_questions_about_what_is_on_it(page, upload):
    updates = page.encode(upload(1), None, ())
    assert [updates[button]["value"] for button in page.ask.suggestions] == [
        "What color is the bus?",
        "Where is the bus?",
        "Is it daytime?",
        "How many people are there?",
    ]
    page.predictor.offers = frozenset()
    updates = page.encode(upload(1), None, ())
    assert [updates[button]["value"] for button in page.ask.suggestions] == [*asking.GENERAL_QUESTIONS]
    updates = page.encode(str(page.examples[0].path), None, ())
    assert updates[page.ask.suggestions[0]]["value"] == page.examples[0].questions[0]


class Writer(FakePredictor):
    """Writes its answer in three parts where the photo isn't asked about by the model's own prompt."""

    offers = FakePredictor.offers | {"write"}
    facts: ClassVar = {"prompt_without_template": "{image}\n{question} " + SHORT}

    def encode(self, photo):
        """A photo that may have a prompt."""
        image = super().encode(photo)
        return EncodedPhoto(image.tokens, image.grid, image.box)

    def write(self, image, question, top=5):
        """The text as it grows, and the whole as the answer."""
        prediction = self.answer(image, question, top)
        if image.prompt is None:
            yield prediction
            return
        words = ["A", "<red>", "bus"]
        for count in (1, 2):
            yield " ".join(words[:count])
        long = (Answer(" ".join(words), 0.5),)
        yield dataclasses.replace(prediction, answers=long, long=True, prompt=image.prompt, calibrated=False)


@pytest.fixture
def writer(monkeypatch) -> Page:
    """The callbacks of a page around a model that writes."""
    made = []
    monkeypatch.setattr("demo.page.wiring.Page", lambda *arguments: made.append(Page(*arguments)) or made[0])
    build_page(Writer())
    return made[0]


def ended(page, path, question, prompt, last=None):
    """What a question to a model that writes gives: what is shown meanwhile, and the outcome."""
    *parts, end = page.write(path, None, question, (), last, 0, prompt)
    return [part[page.result.writing] for part in parts], end[page.memory.asked]


def test_a_longer_text_is_shown_as_it_is_written_and_then_as_the_answer(writer, upload):
    path, prompt = upload(1), "{image}{question}"
    parts, outcome = ended(writer, path, "What is it?", prompt)
    assert ["A <" in part for part in parts] == [True, False] and "A &lt;red&gt; <" in parts[1]
    shown = writer.show(outcome, path, 0, *LOOK)
    assert (
        shown[writer.result.writing] == ""
        and '<h2 class="long">A &lt;red&gt; bus</h2>' in shown[writer.result.sentence]
    )
    assert "A text of 3 words. Each of its pieces was 50" in shown[writer.result.answers]
    assert asking.prompt_of(outcome.reply.photo) == outcome.reply.prediction.prompt == prompt
    failed = asking.Outcome(path, message="It can’t be asked.", visit=0)
    assert writer.show(failed, path, 0, *LOOK)[writer.result.writing] == ""


def test_the_models_own_prompt_is_none_and_a_description_may_be_long(writer, upload):
    own = Writer.facts["prompt_without_template"]
    for prompt in (own, f" {own}\n", "", None):
        parts, outcome = ended(writer, upload(1), "What is it?", prompt)
        assert not parts and asking.prompt_of(outcome.reply.photo) is None and not outcome.reply.prediction.long
    parts, outcome = ended(writer, upload(1), "Describe this photo.", own)
    assert parts and outcome.reply.prediction.long and asking.prompt_of(outcome.reply.photo) == "{image}\n{question}"


def test_both_answers_of_two_prompts_are_kept_and_come_back_with_their_prompt(writer, upload):
    path, prompt = upload(1), "{image}{question}"
    histories = ()
    for asked in (None, prompt):
        histories = history.remember(histories, path, ended(writer, path, "What is it?", asked)[1].reply)
    (kept,) = histories
    assert [reply.prediction.prompt for reply in kept.replies] == [None, prompt]
    text = browser_storage.to_keep(histories, kept.replies[-1], ())
    _, current = browser_storage.bring_back(writer.predictor, (), text)
    assert asking.prompt_of(current.photo) == prompt
    for place, shown in enumerate((Writer.facts["prompt_without_template"], prompt)):  # the next is asked by it, too
        event = SimpleNamespace(_data={"items": [place]})
        back = Returning(writer).back_to_question(event, histories, current, *LOOK)
        assert back[writer.ask.prompt] == shown and (writer.ask.prompt_box in back) == (shown == prompt)


def test_a_links_prompt_stands_in_its_box_unless_nobody_chose_it(writer):
    own, example = Writer.facts["prompt_without_template"], writer.examples[0].path.stem
    plain = opened_by(writer, photo=example, question="What is it?")
    assert plain[writer.ask.prompt] == own and writer.ask.prompt_box not in plain
    by_link = opened_by(writer, photo=example, question="What is it?", prompt="Look: {image}{question}")
    assert by_link[writer.ask.prompt] == "Look: {image}{question}" == by_link[writer.memory.linked].prompt
    assert by_link[writer.ask.prompt_box]["open"]
    lengthened = "{image}\n{question}"  # by itself
    described = opened_by(writer, photo=example, question="Describe this photo.", prompt=lengthened)
    assert described[writer.ask.prompt] == own and writer.ask.prompt_box not in described
    assert Returning(writer).forget_visit()[writer.ask.prompt] == own


def opened_by(page, **query):
    """What a page shows that is opened by a link with these values."""
    return Returning(page).open_link(SimpleNamespace(query_params=query))


def test_a_model_without_a_prompt_leaves_a_links(page):
    opened = opened_by(page, photo=page.examples[0].path.stem, prompt="Look: {image}{question}")
    assert page.ask.prompt not in opened and opened[page.memory.linked].prompt
