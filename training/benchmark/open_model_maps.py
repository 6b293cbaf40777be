"""What maps of an open model cost: one pass without maps, with the rows of some tokens, with full attention maps.

Example:
    python -m training.open_model_maps --report docs/reports/running/open_model_maps.json

The language model has the size of SmolVLM-256M's (its published config) and random weights, since neither time nor
memory depends on them. Its image tokens come as embeddings: the image encoder, the same with and without maps, is left
out. Linux only, which tells the memory of a process.
"""

import argparse
import ctypes
import gc
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.benchmark.sizes import SMOLVLM_LANGUAGE
from training.measuring.common import as_page, markdown_table, tell_report
from training.metrics.memory import kilobytes
from valm_core.vision_language.attention_rows import ROWS, collecting

IMAGE_TOKENS = 17 * 64  # a photo in 4 x 4 tiles and a thumbnail
TEXT_TOKENS = 60  # what a chat template puts around a question of 12 words
ANSWER_TOKENS = 4
KEPT = 20  # rows: those of the question's and of the answer's tokens
RESET = Path("/proc/self/clear_refs")


def build_model(layers: int) -> LlamaForCausalLM:
    """The language model with random weights, in evaluation mode."""
    config = LlamaConfig(**SMOLVLM_LANGUAGE | {"num_hidden_layers": layers}, attn_implementation=ROWS)
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def measured(run: Callable[[], int]) -> dict[str, float]:
    """Processor seconds of one run, the memory in MB that it took at most, and that of its maps (what it returns)."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    RESET.write_text("5", encoding="utf-8")
    before, start = kilobytes("VmRSS"), time.process_time()
    maps = run()
    seconds = time.process_time() - start
    return {
        "seconds": round(seconds, 2),
        "peak_mb": round((kilobytes("VmHWM") - before) / 1000),
        "maps_mb": round(maps / 1e6, 1),
    }


def measure(layers: int, image_tokens: int) -> dict:
    """Time and memory of one pass over a photo, a question and its answer, by what is kept of the attention."""
    model = build_model(layers)
    length = image_tokens + TEXT_TOKENS + ANSWER_TOKENS
    embeddings = torch.randn(1, length, SMOLVLM_LANGUAGE["hidden_size"])
    given = {"inputs_embeds": embeddings, "use_cache": False, "logits_to_keep": ANSWER_TOKENS}
    kept = torch.arange(length - KEPT, length)

    @torch.no_grad()
    def without() -> int:
        model(**given)
        return 0

    @torch.no_grad()
    def rows() -> int:
        with collecting([model], kept) as found:
            model(**given)
        return sum(row.numel() * row.element_size() for row in found.rows)

    def gradients() -> int:
        with collecting([model], kept, gradients=True) as found:
            score = model(**given).logits.log_softmax(dim=-1)[..., 0].sum()
            slopes = torch.autograd.grad(score, found.rows)
        return sum(row.numel() * row.element_size() for row in (*found.rows, *slopes))

    @torch.no_grad()
    def full() -> int:
        maps = model(**given, output_attentions=True).attentions
        return sum(one.numel() * one.element_size() for one in maps)

    model(inputs_embeds=embeddings[:, :32], use_cache=False)  # what is done once only
    ways = {"no maps": without, f"rows of {KEPT} tokens": rows, f"rows of {KEPT} tokens with gradients": gradients}
    found = {name: measured(run) for name, run in ways.items()}
    model.set_attn_implementation("eager")
    found["full attention maps, eager"] = measured(full)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": layers,
        "heads": SMOLVLM_LANGUAGE["num_attention_heads"],
        "tokens": length,
        "image_tokens": image_tokens,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "ways": found,
    }


def format_report(report: dict) -> str:
    """The report as Markdown."""
    rows = [
        (name, f"{way['seconds']:.1f}", f"{way['peak_mb']} MB", f"{way['maps_mb']:.0f} MB")
        for name, way in report["ways"].items()
    ]
    return as_page(
        "# What maps of an open model cost",
        f"    {report['command']}",
        f"One pass over {report['tokens']} tokens, {report['image_tokens']} of which are the photo's, through a "
        f"language model of {report['layers']} layers, {report['heads']} heads and "
        f"{report['parameters'] / 1e6:.0f} million random weights (the size of SmolVLM-256M's, whose image encoder is "
        f"left out), in float32, on {report['threads']} thread(s), {report['machine']}. Seconds are the processor's; "
        "memory is what the pass took at most beside the weights.",
        markdown_table(("kept of the attention", "seconds", "memory", "of it maps"), rows),
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=SMOLVLM_LANGUAGE["num_hidden_layers"], help="layers (default 30)")
    parser.add_argument("--image-tokens", type=int, default=IMAGE_TOKENS, help="tokens of the photo (default 1088)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default 1)")
    parser.add_argument("--report", help="write this JSON file, and beside it the same as .md")
    options = parser.parse_args(arguments)
    if not RESET.exists():
        parser.exit(2, f"There is no {RESET}: memory is measured on Linux only.\n")
    torch.set_num_threads(options.threads)
    report = measure(options.layers, options.image_tokens)
    report["command"] = f"python -m training.open_model_maps --report {options.report or 'FILE'}"
    tell_report(report, format_report(report), options.report)


if __name__ == "__main__":
    main()
