"""A profile of a pair of models on a GPU, from the tables of a library."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from lapsd.traces.costs import Linear
from lapsd.traces.importers.importer import Imported
from lapsd.traces.operator_tables import library
from lapsd.traces.operator_tables.fit import BATCHES, WIDTHS, Grid, Pair, fit_costs, fit_errors
from lapsd.traces.operator_tables.library import Library
from lapsd.traces.operator_tables.model_times import ModelTimes, Part
from lapsd.traces.operator_tables.shapes import Shape, shape_of
from lapsd.traces.profile import Profile
from lapsd.traces.provenance import Hardware, KVCapacity, Model, OperatorTables, Provenance
from lapsd.traces.provenance.operator_tables import ESTIMATED, RESHAPED, SOURCES

EAGLE, NGRAM, NONE = "eagle", "ngram", "none"
MOST_CONTEXT = 8_192
SHARES_AT = (1, 8, 64, 256)  # batch sizes whose shares of measured time are recorded
SHARES_DRAFTED, SHARES_CONTEXT = 4, 512  # draft length and context of these rounds


@dataclass(frozen=True)
class TablesRequest:
    """Models, GPU and engine of a profile.

    Attributes
    ----------
    gpu, engine : str
        Names that the library gives them.
    target : str
        Folder with a `config.json`, or the name of a model.
    draft : str
        The same, or `eagle` (one decoder layer of the target per draft step), `ngram` (drafts
        without a model) or `none` (no drafts).
    engine_version : str or None
        None: the version that the library recommends.
    tp : int
        Tensor-parallel degree: number of GPUs that share the models.
    dtype, kv_dtype : str or None
        Number format of the target's weights, and of keys and values; None: by the configuration.
    link_gb_s : float or None
        Rate of KV transfers between each GPU and host memory, in 10^9 bytes/s; None: the rate of
        the GPU's PCIe link in the library.
    host_us : float
        Microseconds of each round, prefill and step outside the models.
    max_batch, max_context : int
        Largest batch size, and longest context and prompt in tokens.

    Examples
    --------
    >>> import lapsd
    >>> request = lapsd.TablesRequest(
    ...     gpu="h200_sxm", engine="trtllm", target="my-7b", draft="my-68m"
    ... )
    >>> request.tp, request.max_context
    (1, 8192)
    """

    gpu: str
    engine: str
    target: str
    draft: str = NONE
    engine_version: str | None = None
    tp: int = 1
    dtype: str | None = None
    kv_dtype: str | None = None
    link_gb_s: float | None = None
    host_us: float = 0.0
    max_batch: int = 256
    max_context: int = MOST_CONTEXT

    def __post_init__(self) -> None:
        for name, low, high in (
            ("tp", 1, 64),
            ("max_batch", 1, 256),
            ("max_context", 256, 131_072),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}={value}: must be between {low} and {high}")
        if self.link_gb_s is not None and not 0.001 <= self.link_gb_s <= 1e5:
            raise ValueError(f"link_gb_s={self.link_gb_s:g}: must be between 0.001 and 100000")
        if not 0 <= self.host_us <= 1e6:
            raise ValueError(f"host_us={self.host_us:g}: must be between 0 and 1000000")


def profile_from_tables(request: TablesRequest) -> Imported:
    """Return the profile that the tables give, with notes for the user.

    Parameters
    ----------
    request : TablesRequest
        Models, GPU and engine.

    Raises
    ------
    ValueError
        If the library is missing, or has no GPU, engine or model of that name, or no times for the
        model.
    FormatError
        If a model's folder lacks a usable `config.json`.

    Examples
    --------
    >>> import lapsd
    >>> request = lapsd.TablesRequest(gpu="no-such-gpu", engine="trtllm", target="my-7b")
    >>> lapsd.profile_from_tables(request)  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    ValueError: gpu='no-such-gpu': must be one of a100_sxm, b200_sxm, b300_sxm, b60, gb200, ...
    """
    tables = Library(request.gpu, request.engine, request.engine_version)
    target, draft = _pair(tables, request)
    pair = Pair(target, draft)
    capacity = _capacity(pair, request, tables)
    longest = min(request.max_context, target.shape.longest_context or request.max_context)
    grid = Grid(
        [b for b in BATCHES if b <= request.max_batch],
        (1,) if request.draft == NONE else WIDTHS,
        longest,
        capacity.tokens,
    )
    link = 1e9 * request.link_gb_s if request.link_gb_s else tables.link_bytes_per_s
    swap = Linear(0, round(1e9 * capacity.bytes_per_token / request.tp / link))
    costs = fit_costs(pair, grid, swap, 0 if request.draft == NONE else None)
    bare = Profile("operator_tables", "unknown", costs)
    profile = Profile(
        "operator_tables",
        "unknown",
        costs,
        fits=fit_errors(pair, grid, bare),
        provenance=_provenance(pair, request, tables, link),
        kv_capacity=capacity,
        operator_tables=_record(pair, request, tables, max(grid.batches)),
    )
    return Imported(None, profile.with_host(request.host_us), _notes(pair, request, tables))


def models(request: TablesRequest) -> tuple[ModelTimes, ModelTimes | None]:
    """Return the target and the draft model of a request; raises as `profile_from_tables`."""
    return _pair(Library(request.gpu, request.engine, request.engine_version), request)


def _pair(tables: Library, request: TablesRequest) -> tuple[ModelTimes, ModelTimes | None]:
    files = library.model_files()
    target = _model(tables, shape_of(request.target, files, files), request)
    return target, _draft(tables, target, request)


def _model(tables: Library, shape: Shape, request: TablesRequest) -> ModelTimes:
    layers = tables.layers(shape, request.tp, request.dtype, request.kv_dtype)
    return ModelTimes(tables, shape, layers)


def _draft(tables: Library, target: ModelTimes, request: TablesRequest) -> ModelTimes | None:
    if request.draft in (NGRAM, NONE):
        return None
    if request.draft == EAGLE:
        return _model(tables, target.shape.one_layer(), request)
    files = library.model_files()
    shape = shape_of(request.draft, files, files)
    sizes = shape.vocabulary, target.shape.vocabulary
    if None not in sizes and sizes[0] != sizes[1]:
        raise ValueError(
            f"draft={request.draft!r}: its vocabulary has {sizes[0]} tokens, that of"
            f" {request.target!r} has {sizes[1]}; a draft model needs the same tokens"
        )
    # the draft keeps the number format of its own configuration
    layers = tables.layers(shape, request.tp, None, request.kv_dtype)
    return ModelTimes(tables, shape, layers)


def _capacity(pair: Pair, request: TablesRequest, tables: Library) -> KVCapacity:
    """Return the tokens whose keys and values in both models fit next to the weights of both."""
    memory = pair.target.memory
    budget, per_token = memory.kv_bytes, memory.kv_bytes_per_token
    if pair.draft is not None:
        budget -= pair.draft.memory.weights_bytes
        per_token += pair.draft.memory.kv_bytes_per_token
    tokens = budget // per_token
    if tokens < 1:
        raise ValueError(
            f"target={request.target!r}: {memory.weights_bytes / 1e9:.1f} GB of weights per GPU"
            f" leave no memory for keys and values on {request.tp} x {request.gpu}; increase tp"
        )
    source = (
        f"{library.version()}: memory that {tables.engine} {tables.engine_version} leaves by"
        " default"
    )
    return KVCapacity(bytes_per_token=per_token * request.tp, tokens=tokens, source=source)


def _provenance(pair: Pair, request: TablesRequest, tables: Library, link: float) -> Provenance:
    draft = {
        EAGLE: Model(name=f"one layer of {pair.target.shape.name} (EAGLE)"),
        NGRAM: Model(name="n-gram lookup"),
        NONE: None,
    }
    shape = pair.target.shape
    named = Model(name=pair.draft.shape.name) if pair.draft else None
    gpus = f"{request.gpu} x {request.tp}" if request.tp > 1 else request.gpu
    return Provenance(
        source=f"operator tables of {tables.engine} {tables.engine_version} on {gpus}",
        estimated=(
            f"swap_out, swap_in ({link / 1e9:g} GB/s per GPU)",
            *(f"attention, {sentence}" for sentence in _reshaped(pair)),
        ),
        missing=("launches, scheduling and sampling (host_us)", "software outside the tables"),
        target=Model(
            name=pair.target.shape.name, type=str(pair.target.shape.config.get("model_type", ""))
        ),
        draft=draft.get(request.draft, named),
        dtype=request.dtype or str(shape.config.get("torch_dtype", "")),
        hardware=Hardware(device="cuda", gpu=gpus),
        software={tables.engine: tables.engine_version},
        command=_command(request),
        notes={"license": "Apache-2.0 (NVIDIA, aiconfigurator-core)"},
    )


def _command(request: TablesRequest) -> str:
    """Return the command that makes the same profile, without its output file."""
    given = [
        f"--{f.name.replace('_', '-')} {getattr(request, f.name)}"
        for f in fields(request)
        if getattr(request, f.name) != f.default
    ]
    return " ".join(["lapsd import aiconfigurator", *given])


def _record(pair: Pair, request: TablesRequest, tables: Library, largest: int) -> OperatorTables:
    sources: dict[str, str] = {}
    not_measured: dict[int, float] = {}
    reshaped: dict[int, float] = {}
    for batch in (b for b in SHARES_AT if b <= largest):
        parts = _round_parts(pair, batch)
        total = sum(part.ms for _, part in parts)
        of = {s: sum(p.ms for _, p in parts if p.source == s) / total for s in SOURCES}
        not_measured[batch] = round(of[RESHAPED] + of[ESTIMATED], 4)
        reshaped[batch] = round(of[RESHAPED], 4)
        sources |= {f"{model} {p.name}": p.source for model, p in parts if p.ms > 0}
    return OperatorTables(
        library=library.version(),
        gpu=request.gpu,
        engine=tables.engine,
        engine_version=tables.engine_version,
        tp=request.tp,
        operators=sources,
        share_not_measured=not_measured,
        share_reshaped=reshaped,
    )


def _round_parts(pair: Pair, batch: int) -> list[tuple[str, Part]]:
    """Return the operators of a round, with their model."""
    width = 1 + (SHARES_DRAFTED if pair.draft else 0)
    parts = [("target", p) for p in pair.target.parts(batch, width, SHARES_CONTEXT)]
    if pair.draft is not None:
        steps = pair.draft.parts(batch, 1, SHARES_CONTEXT)
        parts += [("draft", p._replace(ms=SHARES_DRAFTED * p.ms)) for p in steps]
    return parts


def _reshaped(pair: Pair) -> Sequence[str]:
    models = {"target": pair.target, "draft": pair.draft}
    return [
        f"{name} {sentence}"
        for name, model in models.items()
        if model is not None
        for sentence in model.reshaped
    ]


def _notes(pair: Pair, request: TablesRequest, tables: Library) -> tuple[str, ...]:
    notes = [
        f"not measured in this shape: {sentence}; as much attention in a measured shape is priced"
        for sentence in _reshaped(pair)
    ]
    if request.host_us == 0:
        notes.append("launches, scheduling and sampling are not in the tables: host_us is 0")
    return tuple(notes)
