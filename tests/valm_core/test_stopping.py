"""What takes long stops between its steps once nobody wants it, and what others ask for goes on."""

import threading

import pytest

from valm_core.stopping import Stopped, also_stopping_when, stop_if_unwanted, stopping_when

QUESTION = "what color is the bus?"
LONG = {
    "counterfactual": lambda predictor, image: predictor.counterfactual(image, QUESTION),
    "occlusion": lambda predictor, image: predictor.explain(image, QUESTION, "occlusion"),
    "evidence": lambda predictor, image: predictor.evidence(image, QUESTION),
    "ask": lambda predictor, image: predictor.ask(image, QUESTION),
    "word_evidence": lambda predictor, image: predictor.word_evidence(image, QUESTION, 1),
}


@pytest.mark.parametrize("call", LONG.values(), ids=list(LONG))
def test_what_takes_long_looks_whether_it_is_wanted_and_stops(tiny_predictor, encoded, call):
    looked = []
    with stopping_when(lambda: looked.append(True)):
        call(tiny_predictor, encoded)  # None: it is wanted
    assert looked
    with pytest.raises(Stopped), stopping_when(lambda: True):
        call(tiny_predictor, encoded)
    call(tiny_predictor, encoded)


def test_a_search_stops_at_whichever_step_it_has_come_to(tiny_predictor, encoded):
    looked = []
    with stopping_when(lambda: looked.append(True)):
        LONG["counterfactual"](tiny_predictor, encoded)
    assert len(looked) > 4
    for step in (2, len(looked)):
        left = iter(range(1, step + 1))
        with pytest.raises(Stopped), stopping_when(lambda left=left, step=step: next(left) == step):
            LONG["counterfactual"](tiny_predictor, encoded)


def test_other_threads_go_on_and_a_block_within_another_has_its_own():
    with stopping_when(lambda: True):
        other = threading.Thread(target=stop_if_unwanted)
        other.start()
        other.join()
        with stopping_when(lambda: False):
            stop_if_unwanted()
        with pytest.raises(Stopped):
            stop_if_unwanted()
    stop_if_unwanted()


@pytest.mark.parametrize(("around", "within"), [(True, False), (False, True), (True, True)])
def test_what_one_of_two_blocks_says_is_enough_where_the_inner_one_is_told_so(around, within):
    with also_stopping_when(lambda: False):
        stop_if_unwanted()
    with stopping_when(lambda: around), pytest.raises(Stopped), also_stopping_when(lambda: within):
        stop_if_unwanted()
    with stopping_when(lambda: False), also_stopping_when(lambda: False):
        stop_if_unwanted()
