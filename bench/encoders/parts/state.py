"""What an encoder holds: its state as arrays, and a digest of all that its features can depend on."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import secrets
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.data.samples import Array
from bench.digests import digest, file_digest


def state_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Name -> tensor of a module's state_dict. Tuples, lists and mappings in it, such as the packed
    weights of int8 layers, give their tensors ("fc.packed.0"); entries without any are left out."""
    return dict(_tensors(module.state_dict()))


def _tensors(entries: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in entries.items():
        name = f"{prefix}{key}"
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(dict(enumerate(value)), f"{name}.")
        elif isinstance(value, Mapping):
            yield from _tensors(value, f"{name}.")


def state_arrays(module: nn.Module) -> dict[str, Array]:
    """`state_tensors` as NumPy arrays. Types that NumPy lacks (bfloat16, float8) become float32 with the
    same values, quantised tensors the float32 values that they stand for."""
    return {name: _array(tensor) for name, tensor in state_tensors(module).items()}


def _array(tensor: Tensor) -> Array:
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.cpu().resolve_conj().resolve_neg()
    try:
        array: Array = tensor.numpy()
    except TypeError:  # "Got unsupported ScalarType BFloat16"
        array = tensor.float().numpy()
    return array


def is_quantised(module: nn.Module, *, dynamic: bool = False) -> bool:
    """Does it hold layers with integer weights? `dynamic`: layers that take the scale of what comes in
    from the batch."""
    part = ".quantized.dynamic." if dynamic else ".quantized."
    return any(part in f"{type(inner).__module__}." for inner in module.modules())


# --- A digest of an object


def object_digest(value: object) -> str:
    """32 hexadecimal digits over what the results of an object can depend on.

    They are its state, buffers outside the state_dict, hooks, attributes of any depth, and the code of its
    classes and functions with what these refer to. Code of installed packages counts by its name, paths of
    files by the content. Equal
    content gives equal digests; an object too deep to be read gives another one each time.
    """
    try:
        return digest(_Description().of(value))
    except RecursionError:
        return secrets.token_hex(16)


class _Description:
    """JSON that describes objects; an object that comes again is described by its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._alive: list[object] = []  # so that no id is used twice

    def of(self, value: Any) -> Any:
        is_path = isinstance(value, Path) or (isinstance(value, str) and os.sep in value)
        if is_path and os.path.isfile(value) and os.access(value, os.R_OK):
            return ["file", file_digest(Path(value))]  # wherever it lies
        if value is None or isinstance(value, (bool, int, str)):
            return [type(value).__name__, str(value)]
        if isinstance(value, (float, complex, torch.dtype, torch.device, Path)):
            return [type(value).__name__, repr(value)]
        if isinstance(value, (bytes, bytearray)):
            return ["bytes", hashlib.sha256(value).hexdigest()]
        if id(value) in self._numbers:
            return ["again", self._numbers[id(value)]]
        self._numbers[id(value)] = len(self._alive)
        self._alive.append(value)
        if isinstance(value, Tensor):
            return [str(value.dtype), _array_content(value)]
        if isinstance(value, np.ndarray):
            return [value.dtype.str, _array_content(value)]
        if isinstance(value, torch.Generator):
            return ["generator", self.of(value.get_state())]
        if isinstance(value, Mapping):
            return [_name(type(value)), [[self.of(k), self.of(v)] for k, v in value.items()]]
        if isinstance(value, (list, tuple)):
            return [_name(type(value)), [self.of(item) for item in value]]
        if isinstance(value, (set, frozenset)):
            return [_name(type(value)), sorted(json.dumps(self.of(item)) for item in value)]
        if isinstance(value, nn.Module):
            return self._module(value)
        return self._code(value)

    def _module(self, module: nn.Module, *, within: bool = False) -> Any:
        """`within`: the state_dict of a module around it holds its state."""
        state = None if within else self.of(dict(module.state_dict()))
        if isinstance(module, torch.jit.ScriptModule):
            return ["script", str(getattr(module, "code", "")), str(module.inlined_graph), state]
        attributes = dict(vars(module))
        for name in ("training", "_parameters", "_modules", "_buffers", "_graph"):
            attributes.pop(name, None)
        if isinstance(module, torch.fx.GraphModule):
            attributes["code"] = module.code
        # Keys of hooks count up over the life of a process.
        parts = {
            name: list(value.values()) if "_hooks" in name and isinstance(value, Mapping) else value
            for name, value in attributes.items()
        }
        outside = module._non_persistent_buffers_set
        parts["_buffers"] = {n: b for n, b in module._buffers.items() if n in outside}
        children = []
        for name, child in module._modules.items():
            first = child is not None and id(child) not in self._numbers
            if first:
                self._numbers[id(child)] = len(self._alive)
                self._alive.append(child)
            if child is not None and first:
                children.append([name, self._module(child, within=True)])
            else:
                children.append([name, self.of(child)])
        return ["module", self.of(type(module)), state, self.of(parts), children]

    def _code(self, value: Any) -> Any:
        """Functions, classes, modules of Python, and objects of any class."""
        if isinstance(value, functools.partial):
            return ["partial", self.of(value.func), self.of(value.args), self.of(value.keywords)]
        if isinstance(value, types.MethodType):
            return ["method", self.of(value.__func__), self.of(value.__self__)]
        if isinstance(value, (staticmethod, classmethod)):
            return [type(value).__name__, self.of(value.__func__)]
        if isinstance(value, property):
            return ["property", self.of(value.fget)]
        if isinstance(value, types.CellType):
            try:
                return ["cell", self.of(value.cell_contents)]
            except ValueError:
                return ["cell", None]
        if isinstance(value, types.CodeType):
            content = hashlib.sha256(value.co_code).hexdigest()
            return ["code", content, list(value.co_names), self.of(value.co_consts)]
        if isinstance(value, types.ModuleType):
            file = getattr(value, "__file__", None)
            if file is None or _is_installed(value.__name__) or not Path(file).is_file():
                return ["import", value.__name__]
            return ["import", value.__name__, file_digest(Path(file))]
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.BuiltinFunctionType):
            return ["builtin", value.__qualname__]
        return [_name(type(value)), self.of(type(value)), self.of(_state(value))]

    def _function(self, function: types.FunctionType) -> Any:
        name, closure = f"{function.__module__}.{function.__qualname__}", function.__closure__
        if _is_installed(function.__module__):
            return ["function", name, self.of(closure)]
        used = [n for n in sorted(_names(function.__code__)) if n in function.__globals__]
        return [
            "function",
            name,
            self.of(function.__code__),
            self.of([function.__defaults__, function.__kwdefaults__, closure]),
            [[n, self.of(function.__globals__[n])] for n in used],
        ]

    def _class(self, cls: type) -> Any:
        if _is_installed(cls.__module__):
            revision = getattr(sys.modules.get(cls.__module__), "REVISION", None)
            return ["class", _name(cls), str(revision)]
        generated = {"__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__"}
        generated.add("__slotnames__")  # kept there by what copies objects
        members = [[n, self.of(v)] for n, v in vars(cls).items() if n not in generated]
        return ["class", _name(cls), [self.of(base) for base in cls.__bases__], members]


def _state(value: object) -> Any:
    """What a pickle would keep of an object, slots among it; of one that has none, its attributes."""
    try:
        parts = value.__reduce_ex__(4)
    except Exception:  # each class has its own
        return dict(getattr(value, "__dict__", {}))
    return parts if isinstance(parts, str) else [_listed(part) for part in parts[1:]]


def _listed(part: Any) -> Any:
    return list(part) if isinstance(part, Iterator) else part


def _array_content(value: Tensor | Array) -> Any:
    """Shape, and a digest of the values."""
    if isinstance(value, Tensor) and value.is_meta:
        return list(value.shape)
    array = _array(value) if isinstance(value, Tensor) else value
    if array.dtype.hasobject:
        return [list(array.shape), repr(array.tolist())]
    content = np.ascontiguousarray(array)
    return [list(array.shape), hashlib.sha256(content.data if content.size else b"").hexdigest()]


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _names(code: types.CodeType) -> set[str]:
    """The names that code refers to, also in functions within."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*(_names(c) for c in inner))


@functools.cache
def _packages() -> tuple[Path, ...]:
    """Where installed packages and Python lie, and this package."""
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return (*map(Path, folders), Path(__file__).parents[2])


def _is_installed(module: str | None) -> bool:
    """Is a Python module part of Python, of an installed package or of this one?"""
    if module is None or module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module.partition(".")[0] in sys.stdlib_module_names
    return any(Path(file).is_relative_to(folder) for folder in _packages())
