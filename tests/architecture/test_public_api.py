# SPDX-License-Identifier: Apache-2.0
"""Everything public is documented and typed; every test says what it shows."""

import ast
import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import tablemgr as tm

ROOT = Path(__file__).resolve().parents[2]


def public_members() -> list[tuple[str, Any]]:
    """The names of the package, and the public members of its classes."""
    members = []
    for name in tm.__all__:
        value = getattr(tm, name)
        if not isinstance(value, type):
            if callable(value):
                members.append((name, value))
            continue
        members.append((name, value))
        if issubclass(value, BaseException):
            continue
        for attribute in dir(value):
            if attribute.startswith("_"):
                continue
            member = inspect.getattr_static(value, attribute)
            member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(member):
                members.append((f"{name}.{attribute}", member))
    return members


def compiled_members() -> list[tuple[str, Any]]:
    """The public members of the package's classes that are C's; a dataclass tells of its fields itself."""
    return [
        (f"{name}.{attribute}", member)
        for name in tm.__all__
        if isinstance(value := getattr(tm, name), type) and not issubclass(value, BaseException)
        for attribute in dir(value)
        if not attribute.startswith("_")
        and (inspect.ismethoddescriptor(member := inspect.getattr_static(value, attribute)) or is_slot(value, member))
        and not isinstance(member, (classmethod, staticmethod))
    ]


def is_slot(kind: type, member: object) -> bool:
    """Whether it is an attribute of its own that a class has for each object."""
    return inspect.ismemberdescriptor(member) and not dataclasses.is_dataclass(kind)


def stub_of(member: Any) -> ast.FunctionDef:
    """What _codec.pyi says of a method that is C's; of overloads, the one with the most arguments."""
    tree = ast.parse((ROOT / "tablemgr" / "_codec.pyi").read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    (kind,) = (node for node in classes if node.name == member.__objclass__.__name__)
    methods = [node for node in kind.body if isinstance(node, ast.FunctionDef) and node.name == member.__name__]
    return max(methods, key=lambda method: len(method.args.args))


@pytest.mark.parametrize(
    ("name", "member"), compiled_members(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_is_written_in_c_is_documented_and_typed_beside_it(name: str, member: Any) -> None:
    """get_type_hints() knows none of it; its signature is that of the stub, which type checkers read."""
    assert member.__doc__, name
    if not inspect.isroutine(member):
        return
    stub = stub_of(member)
    arguments = [*stub.args.posonlyargs, *stub.args.args, *stub.args.kwonlyargs, stub.args.vararg]
    typed = {argument.arg for argument in arguments if argument is not None and argument.annotation is not None}
    positional_only = {argument.arg for argument in stub.args.posonlyargs}
    own, *parameters = inspect.signature(member).parameters.values()
    assert own.name == "self"
    assert {one.name for one in parameters} == typed
    assert {one.name for one in parameters if one.kind is one.POSITIONAL_ONLY} == positional_only - {"self"}
    assert stub.returns is not None


@pytest.mark.parametrize("kind", [tm.Clause, tm.Query], ids=lambda kind: kind.__name__)
def test_what_is_asked_shows_how_it_is_made(kind: type) -> None:
    """To help() and to editors."""
    assert list(inspect.signature(kind).parameters) == (
        ["head", "guards", "body"] if kind is tm.Clause else ["clauses"]
    )


@pytest.mark.parametrize(("name", "value"), public_members(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_public_name_has_a_docstring(name: str, value: Any) -> None:
    """Modules, functions, classes, methods, properties."""
    assert inspect.getdoc(value), name


@pytest.mark.parametrize(("name", "value"), public_members(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_public_function_has_type_hints(name: str, value: Any) -> None:
    """For each argument and the result."""
    if isinstance(value, type):
        return
    hints = get_type_hints(value, vars(inspect.getmodule(value)))
    arguments = [argument for argument in inspect.signature(value).parameters if argument not in ("self", "cls")]
    assert [argument for argument in arguments if argument not in hints] == []
    assert "return" in hints


def module_functions() -> list[str]:
    """The functions of the package that work in an instance."""
    functions = [name for name in tm.__all__ if inspect.isfunction(getattr(tm, name))]
    return [name for name in functions if "instance" in inspect.signature(getattr(tm, name)).parameters]


def test_every_function_that_has_to_do_with_tables_takes_an_instance() -> None:
    """All but those that make parts of clauses."""
    clauses = ("tablemgr.match_functions", "tablemgr.matching")
    functions = [getattr(tm, name) for name in tm.__all__ if inspect.isfunction(getattr(tm, name))]
    assert {function.__name__ for function in functions if function.__module__ not in clauses} == {*module_functions()}


@pytest.mark.parametrize("name", module_functions())
def test_a_client_has_each_function_of_the_package_as_a_method(name: str) -> None:
    """With the same arguments and result; the instance is the client's own."""
    function, method = getattr(tm, name), getattr(tm.Client, name, None)
    assert method is not None
    wanted = inspect.signature(function, eval_str=True)
    parameters = [parameter for parameter in wanted.parameters.values() if parameter.name != "instance"]
    assert wanted.parameters["instance"].default is None
    found = inspect.signature(method, eval_str=True)
    assert [*found.parameters.values()][1:] == parameters
    assert found.return_annotation == wanted.return_annotation


def test_all_names_exist_and_are_sorted() -> None:
    """__all__ is the public surface, nothing twice."""
    assert all(hasattr(tm, name) for name in tm.__all__)
    assert len(set(tm.__all__)) == len(tm.__all__)


def test_dir_shows_what_is_public() -> None:
    """And no module that is the package's own affair."""
    assert set(dir(tm)) == {*tm.__all__, "__version__"}


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.name)
def test_every_test_says_what_it_shows(path: Path) -> None:
    """A docstring that is the behaviour, and a module that has one."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), path
    silent = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_the_package_says_that_it_is_typed() -> None:
    """py.typed is beside the modules."""
    assert (ROOT / "tablemgr" / "py.typed").exists()


def test_a_worker_imports_no_more_than_it_uses() -> None:
    """A program that only has tables pays for no event loop and no supervisor; both are there when asked for."""
    program = (
        "import sys, tablemgr\n"
        "print([name for name in ('asyncio', 'ssl', 'hashlib', 'tablemgr.manager', 'tablemgr.supervisor')"
        " if name in sys.modules])\n"
        "from tablemgr import Manager, Supervisor\n"
        "print(set(tablemgr.__all__) <= set(dir(tablemgr)), hasattr(tablemgr, 'Managr'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True False"]
