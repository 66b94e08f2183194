"""The imports between the packages, read from the source."""

import ast
import configparser
import functools
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("traces", "policies", "predict", "sim", "calibrate", "serve", "papers", "lapsd")
MAY = {
    "traces": set(),
    "policies": set(),
    "predict": {"traces"},
    "sim": {"traces", "policies"},
    "calibrate": {"traces", "policies"},
    "serve": {"traces", "policies", "calibrate", "sim"},
    "papers": {"traces", "policies", "predict", "sim"},
    "lapsd": set(PACKAGES),
}
TABLES = {"numpy", "pandas", "pyarrow", "scipy"}
FOREIGN = {
    "policies": {"numpy"},
    "traces": TABLES | {"tokenizers", "aiconfigurator_core"},
    "predict": {"numpy", "scipy", "sklearn", "faiss", "torch", "transformers"},
    "sim": TABLES | {"simpy", "matplotlib", "tomli_w", "distributed", "numba", "llvmlite"},
    "calibrate": (
        TABLES
        | {
            "torch",
            "transformers",
            "tokenizers",
            "safetensors",
            "triton",
            "huggingface_hub",
            "sklearn",
            "pynvml",
        }
    ),
    "serve": {"numpy", "pandas", "scipy", "simpy", "torch", "jinja2", "matplotlib", "vllm"},
    "papers": TABLES | {"matplotlib", "jinja2"},
    "lapsd": TABLES | {"typer", "rich", "simpy", "torch", "matplotlib", "tomli_w"},
}
STANDARD = set(__import__("sys").stdlib_module_names)
HEAVY = {
    "torch",
    "numba",
    "triton",
    "matplotlib",
    "scipy",
    "distributed",
    "transformers",
    "safetensors",
    "sklearn",
    "pynvml",
    "faiss",
    "vllm",
}


def installed_name(path: Path) -> str:
    """The dotted name under which a source file is imported."""
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return name if name.split(".")[0] == "lapsd" else f"lapsd.{name}"


MODULES = {
    installed_name(path): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def package_of(module: str) -> str:
    """The top-level folder of one of our modules."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in PACKAGES else "lapsd"


def room_of(module: str) -> str:
    """The part of its package that a module belongs to: `engine` for `lapsd.sim.engine.request`; ""
    for the package.
    """
    parts = module.split(".")
    return parts[2] if len(parts) > 2 else ""


def imported(node: ast.AST) -> set[str]:
    """Every module that a node may import; strings that spell one of our modules count as
    imports.
    """
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {
            name
            for name in re.findall(r"\blapsd(?:\.\w+)+", node.value)
            if name in MODULES and " " not in node.value
        }
    return set()


def own_imports(module: str) -> set[str]:
    """Our modules that a module imports, wherever the import is written."""
    named = {name for node in ast.walk(TREES[module]) for name in imported(node)}
    return {name for name in named if name in MODULES} - {module}


def test_no_import_is_relative():
    for name, tree in TREES.items():
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level], name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package):
    for name, tree in TREES.items():
        if package_of(name) != package:
            continue
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        for target in {n for node in nodes for n in imported(node)} | own_imports(name):
            top = target.split(".")[0]
            if top == "lapsd":
                own = package_of(target)
                assert own == package or own in MAY[package], f"{name} imports {target}"
            else:
                assert top in STANDARD | FOREIGN[package], f"{name} imports {target}"


def assert_downwards(package: str, rooms: Sequence[str]) -> None:
    """Each room of a package imports only itself and the rooms listed before it."""
    for name in MODULES:
        if package_of(name) != package or not room_of(name):
            continue
        assert room_of(name) in rooms, f"{name} has no place in the order of rooms"
        for target in own_imports(name):
            if package_of(target) == package and room_of(target):
                allowed = rooms[: rooms.index(room_of(name)) + 1]
                assert room_of(target) in allowed, f"{name} imports {target}, which is above it"


def test_sim_imports_downwards():
    assert_downwards("sim", ("engine", "figures", "experiment", "sweeps", "bench"))


def test_figures_import_no_other_part_of_sim():
    for name in MODULES:
        if name.startswith("lapsd.sim.figures"):
            assert {room_of(t) for t in own_imports(name) if package_of(t) == "sim"} <= {
                "figures"
            }, name


SERVE = (
    "context_json",
    "plan",
    "record",
    "clock",
    "engine",
    "own",
    "validation",
    "vllm",
    "calibration",
)
OUTSIDE_VLLM = {"lapsd.serve.vllm.process"}  # drives vLLM's process from outside it


def test_serve_imports_downwards():
    assert_downwards("serve", SERVE)


def test_code_that_runs_inside_vllm_needs_neither_the_simulator_nor_the_calibrator():
    for name in MODULES:
        if name.startswith("lapsd.serve.vllm") and name not in OUTSIDE_VLLM:
            targets = own_imports(name)
            assert not {package_of(t) for t in targets} & {"sim", "calibrate"}, (
                f"{name} imports {targets}"
            )
            assert {room_of(t) for t in targets if package_of(t) == "serve"} <= {
                "vllm",
                *SERVE[:4],
            }, name


# our executor holds its requests, their drafts and its KV memory to the rules of the simulator's
ENGINE_PARTS = {
    "lapsd.sim.engine",
    "lapsd.sim.engine.drafting",
    "lapsd.sim.engine.memory",
    "lapsd.sim.engine.request",
    "lapsd.sim.engine.recorded",
}


def test_only_validation_imports_the_simulator():
    """Besides it, our executor takes the engine's record of a request, its memory managers, and the
    calls of draft policies.
    """
    for name in MODULES:
        if package_of(name) == "serve" and room_of(name) != "validation":
            targets = {t for t in own_imports(name) if package_of(t) == "sim"}
            if room_of(name) == "own":
                modules = {
                    t for t in targets if MODULES[t].name != "__init__.py" or t in ENGINE_PARTS
                }
                assert modules <= ENGINE_PARTS, f"{name} imports {modules - ENGINE_PARTS}"
            else:
                assert not targets, f"{name} imports {targets}"


def test_no_imports_go_in_a_circle():
    """The graph of all modules has no circle, apart from packages that import their modules."""
    graph = {n: {t for t in own_imports(n) if MODULES[t].name != "__init__.py"} for n in MODULES}
    done: set[str] = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_only_modules_that_load_a_heavy_library_are_imported_late():
    @functools.cache
    def heavy(module: str) -> bool:
        """Whether importing a module loads a heavy library, itself or through another module."""
        found: set[str] = set()
        due = [module]
        while due:
            if (one := due.pop()) not in found:
                found.add(one)
                nodes = [n for n in TREES[one].body if isinstance(n, ast.Import | ast.ImportFrom)]
                names = {name for node in nodes for name in imported(node)}
                if {name.split(".")[0] for name in names} & HEAVY:
                    return True
                due += [name for name in names if name in MODULES]
        return False

    verbs = {
        "lapsd.cli.calibrate_pair",
        "lapsd.cli.calibrate_vllm",
        "lapsd.cli.validate_live",
    }  # need torch
    for name, tree in TREES.items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                nodes = [
                    n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)
                ]
                late = {m for node in nodes for m in imported(node) if m in MODULES} - verbs
                assert all(heavy(m) or MODULES[m].name == "__init__.py" for m in late), (
                    f"{name} imports {late} late"
                )


def test_no_function_of_sim_or_papers_takes_more_than_eleven_parameters():
    """Commands are exempt: their parameters are the options of the command line."""
    for name, tree in TREES.items():
        if package_of(name) in ("sim", "papers"):
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef):
                    arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                    assert len(arguments) <= 11, (
                        f"{name}: {node.name} has {len(arguments)} parameters"
                    )


def test_the_wheel_lists_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    assert listed == {name for name, path in MODULES.items() if path.name == "__init__.py"}


@pytest.mark.parametrize("package", [package for package in PACKAGES if package != "lapsd"])
def test_a_folder_is_not_importable_under_its_bare_name(package):
    """Tests import what users import: a bare `sim` would be another copy of `lapsd.sim`, or another
    project's.
    """
    assert importlib.util.find_spec(package) is None


def test_every_module_has_a_docstring():
    for name, tree in TREES.items():
        assert ast.get_docstring(tree), f"{name} has no docstring"


def test_nothing_unpickles_or_runs_remote_code():
    for name, tree in TREES.items():
        text = MODULES[name].read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, name
        assert "torch.load(" not in text, name
        tops = {n.split(".")[0] for node in ast.walk(tree) for n in imported(node)}
        assert not {"pickle", "dill", "cloudpickle", "joblib"} & tops, name
