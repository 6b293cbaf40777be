"""What a start imports: neither torch's compiler nor transformers' models, and both still work once they are wanted."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
ANSWER = """
import sys
from valm_core import VqaPredictor

predictor = VqaPredictor.from_checkpoint("assets/checkpoints/everyday", device="cpu")
image = predictor.encode(sys.argv[1])
predictor.ask(image, "what animal is this?")
print(sorted({"torch._dynamo", "transformers.modeling_utils", "scipy", "gradio"} & sys.modules.keys()))
import torch
from torchvision.ops import roi_align

print(tuple(roi_align(torch.rand(1, 3, 8, 8), [torch.tensor([[0.0, 0, 4, 4]])], (2, 2)).shape))
print(torch._dynamo.__file__.endswith("__init__.py"), torch.compile(torch.sin, backend="eager")(torch.zeros(1)).item())
"""
OTHER_VERSION = """
import sys

sys.path.insert(0, sys.argv[1])
from valm_core.model.encoders.quick_imports import import_timm

print(import_timm().asked)
"""


def run(code: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_answer_with_its_map_needs_neither_compiler_nor_training_libraries():
    photo = next((ROOT / "assets" / "examples").glob("*.jpg"))
    assert run(ANSWER, photo) == ["[]", "(1, 3, 2, 2)", "True 0.0"]


def test_a_timm_that_asks_for_more_of_the_compiler_gets_all_of_it(tmp_path):
    (tmp_path / "timm.py").write_text("import torch._dynamo\nasked = torch._dynamo.config.__name__\n")
    assert run(OTHER_VERSION, tmp_path) == ["torch._dynamo.config"]
