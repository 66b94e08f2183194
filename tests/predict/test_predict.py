"""Learnt models of output lengths, on prompts that determine the length and on random lengths."""

import json

import numpy as np
import pytest

from lapsd.predict import (
    MODELS,
    Accuracy,
    Median,
    ModelEncoder,
    PromptedTrace,
    Ranker,
    Retrieval,
    Ridge,
    TfidfEncoder,
    out_of_fold,
    predict_with,
    predictions,
)
from lapsd.predict.encoders import normalised
from lapsd.predict.index import VectorIndex
from lapsd.traces import Prompt, load_trace, ordinary_decoding, save_prompts, save_trace

KINDS = {"story": 400, "sum": 8, "list": 60, "poem": 150}


def prompts_with_lengths(many=120, seed=0):
    """Return prompts, lengths and data sets; the kind of a prompt gives its length within 5 %."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice([*KINDS], many)
    texts = [
        f"Please write a {kind} about topic{rng.integers(30)} and thing{rng.integers(30)}"
        for kind in kinds
    ]
    tokens = np.array(
        [max(1, round(KINDS[kind] * np.exp(0.05 * rng.standard_normal()))) for kind in kinds]
    )
    return texts, tokens, ["a"] * many


def fitted(model, **options):
    texts, tokens, datasets = prompts_with_lengths(**options)
    model.fit(texts, tokens, datasets)
    return model


@pytest.mark.parametrize("make", [Ridge, lambda: Ranker(TfidfEncoder())], ids=["ridge", "ranker"])
def test_a_model_learns_lengths_that_depend_on_the_prompt(make):
    texts, tokens, datasets = prompts_with_lengths(60, seed=1)
    predicted = fitted(make()).predict(texts, datasets)
    assert Accuracy.of(np.rint(predicted).astype(int), tokens).log_error < 0.25
    assert np.log(np.median(predicted[[("story" in t) for t in texts]]) / 400) == pytest.approx(
        0, abs=0.3
    )


def test_retrieval_predicts_the_lengths_of_similar_prompts():
    past = [f"Please write a {kind} number{i}" for kind in KINDS for i in range(10)]
    model = Retrieval(TfidfEncoder(), 5, 0.3)
    model.fit(past, np.repeat([*KINDS.values()], 10), ["a"] * len(past))
    predicted = model.predict([f"Please write a {kind}" for kind in KINDS], ["a"] * len(KINDS))
    assert not model.fell_back.any()
    assert predicted == pytest.approx([*KINDS.values()], rel=0.05)


def test_a_model_learns_nothing_from_lengths_in_random_order():
    texts, tokens, datasets = prompts_with_lengths(120)
    shuffled = np.random.default_rng(3).permutation(tokens)
    _, accuracy = out_of_fold(Ridge, texts, shuffled, datasets, texts)
    assert abs(accuracy.kendall) < 0.2
    _, accuracy = out_of_fold(Ridge, texts, tokens, datasets, texts)
    assert accuracy.kendall > 0.6


def test_predictions_are_out_of_fold_by_groups():
    """Each prompt occurs twice with the same random length, which only its copy reveals."""
    rng = np.random.default_rng(0)
    texts = [f"word{i} word{rng.integers(50)}" for i in range(60)] * 2
    tokens = np.tile(rng.integers(5, 500, 60), 2)
    make = lambda: Retrieval(TfidfEncoder(), 1, 0.9)  # noqa: E731
    _, same_group = out_of_fold(make, texts, tokens, ["a"] * 120, texts)
    _, own_groups = out_of_fold(make, texts, tokens, ["a"] * 120, [str(i) for i in range(120)])
    assert own_groups.kendall > 0.7
    assert same_group.kendall < 0.3


def test_retrieval_weights_similar_prompts_by_their_similarity():
    class Angles:
        """Encodes a text as the angle that it gives."""

        def fit(self, texts):
            pass

        def __call__(self, texts):
            return normalised(np.array([[np.cos(float(t)), np.sin(float(t))] for t in texts]))

    model = Retrieval(Angles(), k=2, threshold=0.5)
    model.fit(["0", "0.5", "3"], np.array([10, 40, 900]), ["a"] * 3)
    near, far = np.cos(0.1), np.cos(0.4)
    expected = model.predict(["0.1", "-1.5"], ["a", "a"])
    assert expected[0] == pytest.approx((near * 10 + far * 40) / (near + far), rel=1e-5)
    assert model.fell_back.tolist() == [False, True]  # no cosine with -1.5 reaches 0.5
    model.insert(["-1.5"], np.array([77]))
    assert model.predict(["-1.5"], ["a"])[0] == pytest.approx(77)


def test_retrieval_finds_requests_that_have_finished():
    texts, tokens, datasets = prompts_with_lengths(40, seed=2)
    new = [
        t.replace("story", "saga")
        .replace("poem", "ode")
        .replace("sum", "tally")
        .replace("list", "roll")
        for t in texts
    ]
    make = lambda: fitted(Retrieval(TfidfEncoder(), 3, 0.95), seed=2, many=40)  # noqa: E731
    _, fixed = predict_with(make(), new, tokens, datasets, 10_000)
    _, growing = predict_with(
        make(), [*new, *new], np.tile(tokens, 2), datasets * 2, 10_000, insert=True
    )
    assert fixed.fell_back > 0.9
    assert growing.fell_back < 0.6  # each prompt of the second half finds its copy in the first
    assert growing.log_error < fixed.log_error


def test_the_median_is_that_of_the_data_set():
    model = Median()
    model.fit(["x"] * 4, np.array([1, 3, 100, 300]), ["a", "a", "b", "b"])
    assert model.predict(["y", "y", "y"], ["a", "b", "c"]).tolist() == [2, 200, 51.5]
    assert model.fell_back.tolist() == [False, False, True]


@pytest.mark.parametrize("exact_below", [10**9, 200])
def test_the_index_finds_the_most_similar_vectors(exact_below):
    if exact_below == 200:
        pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    rows = normalised(rng.standard_normal((1_000, 8)))
    index = VectorIndex(exact_below)
    for part in np.array_split(rows, 7):
        index.add(part)
    queries = normalised(rng.standard_normal((50, 8)))
    numbers, cosines = index.search(queries, 3)
    exact = np.argsort(-(queries @ rows.T), axis=1)[:, :3]
    assert (numbers == exact).mean() > (0.9 if exact_below == 200 else 0.9999)
    assert cosines[:, 0] == pytest.approx(
        np.take_along_axis(queries @ rows.T, numbers, 1)[:, 0], abs=1e-5
    )
    assert index.search(queries[:1], 5_000)[0].shape == (1, 1_000) or exact_below == 200


@pytest.mark.parametrize(("name", "value"), [("k", 0), ("threshold", 1.5)])
def test_parameters_of_retrieval_out_of_bounds_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}: must be between"):
        Retrieval(TfidfEncoder(), **{name: value})


def test_the_hidden_states_of_a_model_encode_similar_prompts_alike():
    pytest.importorskip("transformers")
    encoder = ModelEncoder("calibrate/reference/data/target")
    vectors = encoder(["def add(a, b):", "def add(a, c):", "The history of Rome began"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    similar = vectors @ vectors.T
    assert similar[0, 1] > similar[0, 2]


@pytest.fixture
def files(tmp_path):
    texts, tokens, _ = prompts_with_lengths(60)
    trace = ordinary_decoding(np.arange(60), tokens)
    save_trace(trace, tmp_path / "t.parquet")
    save_prompts(
        [Prompt(n, t, t) for n, t in zip(trace.request_id, texts, strict=True)],
        tmp_path / "p.jsonl",
    )
    return tmp_path


def test_predict_adds_a_column_for_each_predictor(lapsd, files):
    out = files / "o.parquet"
    code, output, _ = lapsd(
        "predict",
        files / "t.parquet",
        "--prompts",
        files / "p.jsonl",
        "-o",
        out,
        "--predictor",
        "ridge",
        "--predictor",
        "median",
    )
    assert code == 0
    assert "Kendall's" in output
    made = load_trace(out)
    assert set(made.predictions) == {"ridge", "median"}
    assert np.corrcoef(np.log(made.predictions["ridge"]), np.log(made.output_tokens))[0, 1] > 0.8
    assert made.provenance.notes["predictions"]["ridge"]["how"] == "out of fold"
    assert lapsd("predict", files / "t.parquet", "--prompts", files / "p.jsonl", "-o", out)[0] == 2
    code, _, _ = lapsd(
        "compare",
        "--trace",
        out,
        "--length-predictor",
        "column:ridge",
        "--seeds",
        2,
        "--policy",
        "alise",
    )
    assert code == 0


def test_prompts_of_the_trace_are_left_out_of_the_past(files):
    texts, tokens, _ = prompts_with_lengths(60)
    prompted = PromptedTrace(
        ordinary_decoding(np.arange(20), tokens[:20]), tuple(texts[:20]), tuple(texts[:20])
    )
    past = PromptedTrace(ordinary_decoding(np.arange(60), tokens), tuple(texts), tuple(texts))
    seen = []

    class Spy(Median):
        def fit(self, texts, tokens, datasets):
            seen.extend(texts)
            super().fit(texts, tokens, datasets)

    predictions(Spy, prompted, past)
    assert len(seen) <= 40
    assert not set(seen) & set(texts[:20])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--predictor", "guess"], "--predictor guess: known are retrieval, ridge, ranker, median"),
        (["--encoder", "nowhere"], "encoder nowhere: not the folder of a model"),
        (["--past", "x.parquet"], "--past: needs --past-prompts"),
        (["--k", "0", "--predictor", "retrieval"], "k=0: must be between 1 and 10000"),
    ],
)
def test_wrong_input_to_predict_is_refused_in_one_line(lapsd, files, options, message):
    code, _, error = lapsd(
        "predict", files / "t.parquet", "--prompts", files / "p.jsonl", "-o", files / "o", *options
    )
    assert (code, error.count("\n")) == (2, 1)
    assert message in error
    assert not (files / "o").exists()


def test_a_request_without_a_prompt_is_refused_by_name(lapsd, files):
    (files / "q.jsonl").write_text(json.dumps({"request_id": "other", "prompt": "x"}))
    code, _, error = lapsd(
        "predict", files / "t.parquet", "--prompts", files / "q.jsonl", "-o", files / "o"
    )
    assert code == 2
    assert "prompts: 60 of 60 requests of the trace have no prompt, first 'request-0'" in error


def test_each_predictor_has_a_name():
    assert list(MODELS) == ["retrieval", "ridge", "ranker", "median"]
    assert MODELS["retrieval"](TfidfEncoder, 7, 0.1).k == 7
