"""The arrows between the packages, checked from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = {"traces", "policies", "predict", "sim", "calibrate", "serve"}
MAY = {
    "traces": set(), "policies": set(), "predict": {"traces"}, "sim": {"traces", "policies"},
    "calibrate": {"traces", "policies"}, "serve": {"traces", "policies", "sim", "calibrate"},
}  # fmt: skip
FOREIGN = {
    "policies": {"numpy"},
    "traces": {"numpy", "pandas", "pyarrow", "scipy", "tokenizers"},
    "predict": {"numpy", "scipy", "sklearn", "faiss", "torch", "transformers"},
    "sim": {"numpy", "pandas", "pyarrow", "scipy", "simpy", "matplotlib", "typer", "rich", "tomli_w", "jinja2",
            "distributed"},
    "calibrate": {"numpy", "pandas", "pyarrow", "scipy", "torch", "transformers", "tokenizers", "safetensors",
                  "triton", "huggingface_hub", "sklearn", "pynvml", "typer", "rich"},
    "serve": {"numpy", "pandas", "scipy", "simpy", "torch", "typer", "rich", "jinja2", "matplotlib", "vllm"},
}  # fmt: skip
STANDARD = set(__import__("sys").stdlib_module_names)


def imports(path: Path) -> set[tuple[str, str]]:
    """(top-level package, whole module) of every import in a file, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return {(name.split(".")[0], name) for name in found}


MOUNTED = {("sim/cli/predict.py", "predict")}


@pytest.mark.parametrize("package", sorted(HOUSE))
def test_a_package_imports_only_what_it_may(package):
    for path in (ROOT / package).rglob("*.py"):
        for top, module in imports(path):
            if top in STANDARD or top == package:
                continue
            if (path.relative_to(ROOT).as_posix(), module) in MOUNTED:
                continue  # the exception: this verb is mounted lazily
            assert top in MAY[package] | FOREIGN[package], f"{path.relative_to(ROOT)} imports {module}"


# the rooms of sim from the ground up; figures take tables and names, so that anything may draw
ROOMS = ("engine", "figures", "experiment", "sweeps", "reproduce", "bench", "cli")
HEAVY = {
    "torch", "triton", "matplotlib", "scipy", "distributed", "transformers", "safetensors", "sklearn", "pynvml",
    "faiss", "vllm",
}  # fmt: skip


def modules_of(package):
    """Module name to file, for a package's modules."""
    files = (ROOT / package).rglob("*.py")
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def own_imports(package):
    """Module to the modules of its package that it imports, wherever the import stands."""
    modules = modules_of(package)
    found = {name: set() for name in modules}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = {w if w in modules else node.module for w in whole}
            elif isinstance(node, ast.Import):
                targets = {alias.name for alias in node.names}
            else:
                continue
            found[name] |= {t for t in targets if t in modules and t != name}
    return found


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def test_no_import_of_sim_runs_back_up():
    up = set()
    for module, targets in own_imports("sim").items():
        if module == "sim":
            continue  # its users' names, from everywhere
        assert room_of(module) in ROOMS, f"{module} has no place in the order of rooms"
        assert "sim" not in targets, f"{module} imports what is for users"
        up |= {(module, t) for t in targets if ROOMS.index(room_of(t)) > ROOMS.index(room_of(module))}
        if room_of(module) == "figures":
            up |= {(module, t) for t in targets if room_of(t) != "figures"}
    assert not up


# of serve: plain data, our engine, what is said of live runs; vLLM's part, which knows plain data alone; the verb
SERVED = ("outlook_json", "plan", "record", "clock", "engine", "own", "validation", "vllm", "calibration", "cli")


BESIDE = {"serve.vllm.process", "serve.vllm.calibration", "serve.vllm.cli"}  # of vLLM's, but not in its Python


def test_no_import_of_serve_runs_back_up_and_vllm_stands_apart():
    files = modules_of("serve")
    for module, targets in own_imports("serve").items():
        room, rooms = room_of(module), {room_of(target) for target in targets}
        if room == "vllm" and module not in BESIDE:
            assert rooms <= {"vllm", *SERVED[: SERVED.index("engine")]}, f"{module} imports more than plain data"
            assert not {top for top, _ in imports(files[module])} & {"sim", "calibrate"}, f"{module} needs too much"
        elif module != "serve":
            assert rooms <= set(SERVED[: SERVED.index(room) + 1]), f"{module} imports upwards"


@pytest.mark.parametrize("package", sorted(HOUSE))
def test_no_imports_go_in_a_circle(package):
    imported = own_imports(package)
    imported.pop(package)
    done: set[str] = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in sorted(imported.get(module, ())):
                visit(target, [*path, module])
            done.add(module)

    for module in imported:
        visit(module, [])


def named(node):
    """Modules that an import statement names; of `from a import b` also a.b."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return set()


def test_only_what_loads_a_heavy_library_is_imported_late():
    trees = {
        name: ast.parse(path.read_text(encoding="utf-8"))
        for house in HOUSE
        for name, path in modules_of(house).items()
    }
    heavy = {n for n, tree in trees.items() if {m.split(".")[0] for node in tree.body for m in named(node)} & HEAVY}
    mounted = {(file.removesuffix(".py").replace("/", "."), verb) for file, verb in MOUNTED}
    for name, tree in trees.items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                late = {m for node in ast.walk(function) for m in named(node)}
                own = {
                    m for m in late if m in trees and m not in heavy and m not in HOUSE and (name, m) not in mounted
                }
                assert not own, f"{name}.{function.name} imports {own} late"


def test_no_function_of_sim_takes_more_than_ten_parameters():
    """But commands, whose parameters are the options of a command line."""
    for path in (ROOT / "sim").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not any("command" in ast.dump(d) for d in node.decorator_list):
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                assert len(arguments) <= 10, f"{path}: {node.name} has {len(arguments)} parameters"


def test_the_lists_of_packages_agree():
    import configparser

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    there = {".".join(p.parent.relative_to(ROOT).parts) for h in HOUSE for p in (ROOT / h).rglob("__init__.py")}
    assert listed == there


def test_modules_say_what_they_are():
    for package in HOUSE:
        for path in (ROOT / package).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"


def test_nothing_unpickles_or_runs_remote_code():
    for package in HOUSE:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "trust_remote_code=True" not in text, path
            assert not {"pickle", "dill", "cloudpickle", "joblib"} & {top for top, _ in imports(path)}, path
            assert "torch.load(" not in text, path
