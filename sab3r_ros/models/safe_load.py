"""Opening torch files that carry pickled settings of classes that must not, or cannot, be imported."""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

_HARMLESS = {
    ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"), ("torch", "device"), ("torch.serialization", "_get_layout"), ("builtins", "set"),
}  # fmt: skip


class _Inert(dict):
    """Stands for an object of any other class; does nothing with what it is given."""

    def __init__(self, *args, **kwargs):
        super().__init__()

    def __setstate__(self, state):
        pass

    def __call__(self, *args, **kwargs):
        return _Inert()

    def append(self, item):
        """Of pickled lists' subclasses."""

    def extend(self, items):
        """Of pickled lists' subclasses."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) in _HARMLESS or (module == "torch" and name.endswith("Storage")):
            return super().find_class(module, name)
        return _Inert


def safe_load(path: Path) -> Any:
    """A torch file's content on the CPU: tensors and plain containers as they are, every other object an empty stand-in.

    Nothing in the file is executed. Raises ValueError for a file that is damaged or not of torch.
    """
    module = SimpleNamespace(Unpickler=_Unpickler, load=pickle.load, __name__="inert_pickle")
    try:
        return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    except Exception as error:  # torch raises many types for damaged files
        reason = (str(error).splitlines() or ["empty file"])[0]
        raise ValueError(f"{path} is not a torch file or damaged: {type(error).__name__}: {reason}") from error
