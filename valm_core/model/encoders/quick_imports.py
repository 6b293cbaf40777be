"""Importing timm without torch's compiler, which torchvision imports along: it takes longer than all the rest."""

import importlib
import sys
from types import ModuleType
from typing import Any


def import_timm() -> ModuleType:
    """timm, with stand-ins for the two functions of torch's compiler that are asked for while it is imported.

    One (``torchvision.ops.roi_align``) imports the compiler once it is called; the other marks functions of a vision
    transformer as not to be compiled, and is of no account where nothing is. Where a version asks for more, or the
    compiler is there already, timm is imported as usual. Not to be called while other threads import.

    Raises:
        ImportError: as ``import`` does.
    """
    if {"timm", "torch._dynamo"} & sys.modules.keys():
        return importlib.import_module("timm")
    compiler: Any = ModuleType("torch._dynamo")
    utilities: Any = ModuleType("torch._dynamo.utils")
    compiler.disable = lambda function, *_, **__: function
    utilities.is_compile_supported = _is_compile_supported
    stand_ins = {module.__name__: module for module in (compiler, utilities)}
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("timm")
    except (ImportError, AttributeError):
        pass  # what was imported whole stays; the rest is imported once more, with the compiler
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
    return importlib.import_module("timm")


def _is_compile_supported(*values: Any) -> bool:
    return importlib.import_module("torch._dynamo.utils").is_compile_supported(*values)
