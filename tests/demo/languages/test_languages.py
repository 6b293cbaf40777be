"""No text lacks its Chinese, the page's language is the browser's, doubt about questions is fair."""

import ast
import json
import pickle
import re
import string
from pathlib import Path

import pytest
from fake_predictor import FakePredictor
from PIL import Image

from demo.languages.chinese import CHINESE, MESSAGES, STEPS
from demo.languages.translate import (
    is_doubtful,
    label,
    language,
    language_of,
    say,
    say_html,
    speaking,
    translated,
    translations,
)
from demo.page.wiring import build_page
from demo.panels import correct
from demo.rendering.answers import doubt_html, result_html
from demo.rendering.evidence import CONTROL_WORDS, VERDICT_WORDS, evidence_html
from demo.rendering.map import map_description
from demo.rendering.sentences import SENTENCES
from demo.rendering.wording import notice_html, strong
from demo.rendering.words import place_text
from demo.settings import Settings
from demo.visit import asking, history
from demo.visit.examples import NO_SUCH_EXAMPLE, read_examples
from valm_core.corrections.database import OTHER_REASON, REASONS
from valm_core.explanations import EXPLANATION_METHODS
from valm_core.method_names import CONTROLS
from valm_core.outputs import InputError, NotOffered
from valm_core.vision_language.predictor import ROW_METHODS

ROOT = Path(__file__).parents[3]
DEMO = sorted((ROOT / "demo").rglob("*.py"))


def called(path: Path, *names: str) -> list[ast.Call]:
    """The calls of some functions in a file."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) in names]


def constants(path: Path) -> set[str]:
    """All strings in a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


FACTS = {"checkpoint sha256", "temperature", "yes no temperature", "fusion", "text encoder", "image encoder"}
FACTS |= {"family", "model type", "parameters", "precision", "probabilities", "prompt", "prompt without template"}
FACTS |= {"revision"}  # these are of open models


def test_every_text_that_the_page_says_has_its_chinese():
    said = {
        call.args[0].value
        for path in DEMO
        for call in called(path, "say", "say_html", "label")
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    assert len(said) > 100
    assert said - CHINESE.keys() == set()


def test_what_is_said_by_a_variable_has_its_chinese_too():
    methods = {name.replace("_", " ") for name in EXPLANATION_METHODS}
    verdicts = set(VERDICT_WORDS.values()) | set(CONTROL_WORDS.values())
    examples = {example.title for example in read_examples(ROOT / "assets" / "examples")}
    messages = {getattr(asking, name) for name in ("NO_PHOTO", "NO_QUESTION", "LOST_PHOTO", "NO_ANSWER", "OUR_FAULT")}
    messages |= {history.OWN_PHOTO, NO_SUCH_EXAMPLE, correct.LOST, correct.AGREE}
    controls = {f"{name} (control)" for name in CONTROLS}
    sentences = {sentence.text for sentence in SENTENCES.values()}
    assert (FACTS | methods | verdicts | examples | messages | controls | sentences) - CHINESE.keys() == set()


def test_no_chinese_is_for_a_text_that_the_page_no_longer_has():
    code = {STEPS}.union(*(constants(path) for path in DEMO if path.name != "chinese.py"))
    generated = {name.replace("_", " ") for name in EXPLANATION_METHODS} | {f"{name} (control)" for name in CONTROLS}
    generated |= FACTS | {name.replace("_", " ") for name in ROW_METHODS}
    titles = {text for text in CHINESE if any(text.startswith(example.title) for example in read_titles())}
    assert CHINESE.keys() - code - generated - titles == set()


def read_titles():
    return read_examples(ROOT / "assets" / "examples")


@pytest.mark.parametrize("english", [*CHINESE, *MESSAGES])
def test_a_translation_holds_the_same_values_and_tags_and_is_chinese(english):
    chinese = (CHINESE | MESSAGES)[english]
    assert fields(chinese) <= fields(english)
    if english in CHINESE:
        assert fields(chinese) == fields(english)
        assert chinese.count("<li>") == english.count("<li>") and chinese.count("<strong>") == english.count("<strong>")
    assert not re.search(r"[\u4e00-\u9fff][,:;?!(]", chinese)  # Chinese has its own punctuation
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese) or english in (". For ", MIXED_RANGE)


MIXED_RANGE = "{low}–{high} % on a scale of 0–{top} %"


RAISERS = sorted([*(ROOT / "valm_core").rglob("*.py"), *DEMO])


def named_texts() -> dict[str, str]:
    """The constants of valm_core and demo that are texts, by name."""
    bodies = (node for path in RAISERS for node in ast.parse(path.read_text(encoding="utf-8")).body)
    assigned = (node for node in bodies if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant))
    return {ast.unparse(node.targets[0]): node.value.value for node in assigned}


HANDED_ON = {
    ("telling.py", "message"),  # of the API's parameters, whose documentation is English
    ("asking.py", "message"),  # of ``not_offered``, whose callers give it
}


def raised_templates() -> list[tuple[str, set[str]]]:
    """The template of every error that people are told, and the names of its values, as they stand in the code."""
    texts, found = named_texts(), []
    for path in RAISERS:
        for call in called(
            path, "InputError", "NotOffered", "UnreachablePhoto", "OcrMissing", "Stopped", "not_offered"
        ):
            text = call.args[0]
            name = getattr(text, "id", getattr(text, "attr", None))
            if isinstance(text, ast.Call):
                assert text.func.id == "unknown_answer", path  # which chooses the language itself
            elif (path.name, name) not in HANDED_ON:
                template = text.value if isinstance(text, ast.Constant) else texts.get(name)
                assert template, f"{path}:{call.lineno} raises no template; give one, and its values by name"
                found.append((template, {keyword.arg for keyword in call.keywords}))
    return found


def test_every_error_that_people_are_told_has_its_chinese():
    found = raised_templates()
    assert len(found) > 30 and sum(bool(values) for _, values in found) > 12
    for template, values in found:
        assert template in CHINESE | MESSAGES, template
        assert fields(template) == values, template
        error = InputError(template, **{name: f"<{name}>" for name in values})
        assert str(error) == (template.format(**error.values) if values else template)
        with speaking("zh"):
            chinese = translated(error)
        assert chinese != str(error) and any("\u4e00" <= letter <= "\u9fff" for letter in chinese)
        wanted = fields((CHINESE | MESSAGES)[template])
        assert all(f"<{name}>" in chinese for name in wanted) and not fields(chinese)
        assert translated(error) == str(error)


def test_no_chinese_is_for_an_error_that_nobody_raises():
    reasons = {OTHER_REASON[0], *(reason for _, reason, _ in REASONS), "the store of corrections is full"}
    assert reasons <= constants(ROOT / "valm_core" / "corrections" / "database.py")
    assert reasons <= MESSAGES.keys()
    assert MESSAGES.keys() - reasons - {template for template, _ in raised_templates()} == set()


def test_values_in_an_error_stay_as_they_are_and_unknown_messages_pass():
    template = "{name} can't be read as a photo. Send {formats}; if it is one, it is damaged."
    error = InputError(template, name="a {b}.jpg", formats="JPEG")
    assert str(error) == "a {b}.jpg can't be read as a photo. Send JPEG; if it is one, it is damaged."
    again = pickle.loads(pickle.dumps(NotOffered("{x} is {y}.", x=1, y="{z}")))  # from another process
    assert (type(again), str(again)) == (NotOffered, "1 is {z}.")
    assert (again.template, again.values) == ("{x} is {y}.", {"x": 1, "y": "{z}"})
    with speaking("zh"):
        assert "a {b}.jpg 无法" in translated(error) and "a {b}.jpg 无法" in asking.message_for(error)
        assert translated("Something new.") == "Something new."
        assert translated(InputError("Something {new}.")) == "Something {new}."
    assert translated(asking.NO_PHOTO) == asking.NO_PHOTO


@pytest.mark.parametrize(
    ("accepted", "spoken"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-CN", "zh"),
        ("zh-TW;q=1", "zh"),
        ("en-US,zh-CN;q=0.9", "en"),
        ("zh,zh-CN;q=0.9", "en"),  # as gradio's own labels
        ("de-DE", "en"),
        ("", "en"),
        ("<script>,;;", "en"),
    ],
)
def test_the_first_language_of_the_browser_counts(accepted, spoken):
    assert language_of(accepted) == spoken


def test_without_a_request_it_is_english_and_a_block_speaks_its_own():
    assert language() == "en" and say("Photo") == "Photo"
    with speaking("zh"):
        assert say("Photo") == "照片" and say("not translated {x}", x="{y}") == "not translated {y}"
    assert say("Photo") == "Photo"


def test_gradio_gets_every_text_for_every_locale():
    found = translations()
    assert set(found) == {"en", "zh-CN", "zh-TW"} and all(texts.keys() >= CHINESE.keys() for texts in found.values())


def test_texts_that_stand_together_are_one_key_with_both_languages():
    together = label("Photo", "{title} · the model gets {right} of {count} right", title="Cat", right=2, count=3)
    assert together.key == "Photo Cat · the model gets 2 of 3 right"
    assert translations()["zh-CN"][together.key] == "照片猫 · 模型 3 题答对 2 题"
    assert translations()["en"][together.key] == together.key
    assert label("Photo").key == "Photo"


@pytest.mark.parametrize("corrections", [False, True])
def test_no_text_of_the_page_holds_more_than_one_key(corrections, tmp_path):
    """Gradio's frontend translates the first of a text and shows the code of the others."""
    settings = Settings(feedback=str(tmp_path / "corrections.db")) if corrections else Settings()
    page = build_page(FakePredictor(), settings=settings)
    texts = [value for block in page.blocks.values() for value in strings(block.get_config())]
    keys = [text.count("__i18n__") for text in texts]
    assert sum(keys) > 50 and max(keys) == 1
    footer = next(text for text in texts if "page-footer" in text)
    key = json.loads(footer.split("__i18n__")[1].split("}")[0] + "}")["key"]
    assert ("with a correction stay longer" in key) == corrections and "Photos stay on this" in key
    assert "照片" in translations()["zh-CN"][key]


def strings(value) -> list[str]:
    """Every string in a component's configuration."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in strings(inner)]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in strings(inner)]
    return [str(value)]


def test_what_the_server_writes_is_chinese_and_escapes_as_before():
    predictor = FakePredictor()
    encoded = predictor.encode(Image.new("RGB", (20, 20)))
    hostile = "<img src=x>"
    question = "What color is the bus?"
    prediction = predictor.answer(encoded, question)
    explanation = predictor.explain(encoded, question, "grad_cam")
    with speaking("zh"):
        assert place_text("text_to_image", 0, None) == "词看了哪里 · 第 1 层、所有头的注意力"
        text = map_description(explanation, (0, 4))
        assert text.startswith("照片上的热图。“What”：") and "For" not in text
        html = evidence_html(predictor.evidence(encoded, question, answer=hostile), 0.62)
        assert "它看的地方重要" in html and "&lt;img" in html and "<img" not in html and "verdict-matters" in html
        assert "照片 38 %" in html
        html = result_html(prediction, hostile)
        assert "模型答错了" in html and "<img" not in html
        assert "无法携带" in notice_html(history.OWN_PHOTO)


def test_a_text_as_html_escapes_its_values_but_not_our_own_markup():
    for chosen, around in (("en", "Asked as: {}"), ("zh", CHINESE["Asked as: {question}"].replace("{question}", "{}"))):
        with speaking(chosen):
            assert say_html("Asked as: {question}", question="<b>&") == around.format("&lt;b&gt;&amp;")
            assert say_html("Asked as: {question}", question=strong("<b>")) == around.format(
                "<strong>&lt;b&gt;</strong>"
            )


@pytest.mark.parametrize(
    "question",
    [
        "这是什么动物?",
        "¿Qué animal es este?",
        "Was ist das für ein Tier?",
        "Wie viele Leute sind auf dem Foto?",
        "Quelle est la couleur du bus ?",
        "Di che colore è il gatto?",
        "Que cor é o carro? Onde está a pessoa?",
        "Какое это животное?",
        "ما هذا؟",
        "Welke kleur heeft de auto?",
        "Co jest na zdjęciu?",
        "Vad är det?",
    ],
)
def test_questions_in_other_languages_are_doubted(question):
    assert is_doubtful(question)
    assert "trained on English questions" in doubt_html(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is in the photo?",
        "How many people are there?",
        "cat",
        "color of the café table?",
        "What does 你好 on the sign mean?",
        "Is this Rue de la Paix in Paris?",
        "Are they in Los Angeles or Las Vegas?",
        "2 + 2?",
        "???",
        "",
    ],
)
def test_english_questions_are_not_doubted(question):
    assert not is_doubtful(question) and doubt_html(question) == ""


def test_packaged_and_general_questions_are_not_doubted():
    questions = [question for example in read_titles() for question in example.questions]
    assert [question for question in [*questions, *asking.GENERAL_QUESTIONS] if is_doubtful(question)] == []
