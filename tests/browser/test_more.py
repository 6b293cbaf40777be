"""The page "More" in a browser: a task is chosen, its example is read, and axe-core finds nothing."""

import dataclasses

import pytest
import torch
from page_steps import findings
from served_page import served

from demo.more.models import MoreModels
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.model.build import build_task_model


@pytest.fixture(scope="module")
def more_url(tiny_config, predictor, tmp_path_factory):
    """The address of a page with two tiny models, one that feels and one that judges."""
    checkpoints = {}
    for task in ("feel", "judge"):
        torch.manual_seed(0)
        model = build_task_model(dataclasses.replace(tiny_config, task=task), ["negative", "positive"]).eval()
        checkpoints[task] = tmp_path_factory.mktemp("more") / task
        save_checkpoint(model, checkpoints[task])
    with served(predictor, more=MoreModels(checkpoints)) as url:
        yield url


def test_a_task_is_chosen_and_its_example_is_answered(visit, more_url):
    page = visit(f"{more_url}/more", 390, 844, ask_button="Go")
    assert page.locator("#more-task input").count() == 2  # what there is no model for isn't offered
    page.get_by_label("Feel", exact=True).check()
    page.get_by_text("sounds positive, neutral or negative").wait_for()
    page.locator("#more-example", has_text="lovely").click()
    page.locator("#more-result .answers li").nth(1).wait_for()
    assert page.locator("#more-result .spoke").count() == 6
    assert findings(page) == ""
    page.get_by_label("Judge", exact=True).check()
    page.locator("#more-result .answers").wait_for(state="detached")  # no former task's result
    page.locator("#more-run").click()
    page.get_by_text("A photo is needed to judge a statement").wait_for()
