"""Length predictors: their command-line texts, their errors, and fixed random draws."""

import numpy as np
import pytest

from lapsd.sim.experiment.predictor_spec import parse_predictor
from lapsd.traces import (
    PREDICTORS,
    Arrivals,
    FormatError,
    draw_workload,
    load_profile,
    load_trace,
    price,
    save_trace,
    to_frame,
    trace_from_rounds,
)
from tests.builders import row

REFERENCE = load_trace("reference")
PRICED = price(REFERENCE, load_profile("reference"))
DRAWN = {  # by predictor and seed: every recorded result depends on these draws
    ("oracle", 0): [180, 78, 60, 1, 241, 47, 37, 15],
    ("oracle", 7): [199, 91, 76, 76, 24, 36, 38, 41],
    ("noisy:0.5", 0): [156, 101, 82, 1, 195, 24, 18, 30],
    ("noisy:0.5", 7): [86, 94, 160, 43, 20, 44, 18, 46],
    ("noisy:0", 7): [199, 91, 76, 76, 24, 36, 38, 41],
    ("regressed:0.6", 0): [70, 77, 74, 17, 72, 25, 23, 66],
    ("regressed:0.6", 7): [36, 65, 124, 34, 32, 55, 22, 53],
    ("regressed:1", 7): [199, 91, 76, 76, 24, 36, 38, 41],
    ("regressed:0", 0): [51] * 8,
    ("learned", 0): [54, 99, 68, 36, 67, 69, 33, 47],
    ("learned", 7): [87, 128, 58, 62, 30, 33, 33, 57],
}


@pytest.mark.parametrize(("text", "seed"), DRAWN)
def test_predictions_equal_the_recorded_draws(text, seed):
    predictor = parse_predictor(text)
    work = draw_workload(
        PRICED, requests=8, seed=seed, arrivals=Arrivals(load=0.8), predictor=predictor
    )
    assert work.predicted_tokens.tolist() == DRAWN[text, seed]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noisy", "needs a value, as in noisy:0.5"),
        ("noisy:", "needs a value, as in noisy:0.5"),
        ("noisy:x", "needs a number, as in noisy:0.5"),
        ("noisy:-1", "length predictor noisy:-1: SD must be between 0 and 10"),
        ("noisy:nan", "SD must be between 0 and 10"),
        ("noisy:0.5,0.6", "length predictor 'noisy:0.5,0.6': must be noisy:SD"),
        ("noisy:mean=1", "must be noisy:SD"),
        ("noisy:0.5,sd=0.5", "must be noisy:SD"),
        ("regressed", "needs a value, as in regressed:0.5"),
        ("regressed:1.1", "R must be between 0 and 1"),
        ("column", "needs a value, as in column:mine"),
        ("bert", "'bert': known are oracle, noisy:SD, regressed:R, learned, column:NAME"),
        ("oracle:1", "length predictor 'oracle:1': must be oracle"),
    ],
)
def test_an_invalid_predictor_text_raises_an_error(text, message):
    with pytest.raises(ValueError) as error:
        parse_predictor(text)
    assert message in str(error.value)
    assert str(error.value).startswith("length predictor")


def test_parsing_the_text_of_a_predictor_gives_the_same_predictor():
    texts = ("oracle", "noisy:0.5", "regressed:0.6", "learned", "column:bert-v2")
    for text in texts:
        assert str(parse_predictor(text)) == text
    assert {text.partition(":")[0] for text in texts} == set(PREDICTORS)
    assert parse_predictor("noisy:sd=0.5") == parse_predictor("noisy:0.5")


def test_named_predictions_are_saved_as_columns_and_used_by_the_column_predictor(tmp_path):
    trace = trace_from_rounds([row(f"r{i}", 1, [i], predicted_tokens=9 - i) for i in range(3)])
    path = tmp_path / "t.parquet"
    save_trace(
        trace.with_prediction("bert", [5, 6, 7]).with_prediction("by-hand", np.array([3, 2, 1])),
        path,
    )
    again = load_trace(path)
    assert list(to_frame(again).columns[-3:]) == [
        "predicted_tokens",
        "predicted_tokens:bert",
        "predicted_tokens:by-hand",
    ]
    rows = np.array([2, 0, 2])
    for text, known in (
        ("learned", [7, 9, 7]),
        ("column:bert", [7, 5, 7]),
        ("column:by-hand", [1, 3, 1]),
    ):
        assert parse_predictor(text).predict(rows, again, 0).tolist() == known
        assert (
            parse_predictor(text).predict(np.arange(2), again.take([2, 0]), 0).tolist() == known[:2]
        )
    with pytest.raises(ValueError) as error:
        parse_predictor("column:gpt").predict(rows, again, 0)
    assert "no column 'predicted_tokens:gpt' (its predictions: learned, bert, by-hand)" in str(
        error.value
    )
    with pytest.raises(ValueError, match=r"no column 'predicted_tokens' \(its predictions: none\)"):
        parse_predictor("learned").predict(rows, trace_from_rounds([row("a", 1, [1])]), 0)


@pytest.mark.parametrize(
    ("name", "tokens", "message"),
    [
        ("a b", [1, 1], "prediction 'a b': use only letters"),
        ("", [1, 1], "prediction '': use only letters"),
        ("x", [1], "prediction 'x': needs a whole number from 1 to 2147483647"),
        ("x", [1, 0], "from 1 to 2147483647 for each"),
        ("x", [1.5, 2], "a whole number"),
    ],
)
def test_with_prediction_raises_an_error_for_invalid_names_and_lengths(name, tokens, message):
    trace = trace_from_rounds([row("a", 1, [1]), row("b", 1, [1])])
    with pytest.raises(ValueError) as error:
        trace.with_prediction(name, tokens)
    assert message in str(error.value)


def test_the_error_for_an_invalid_prediction_in_a_file_names_its_column(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    trace = trace_from_rounds([row("a", 1, [1]), row("b", 1, [1])])
    save_trace(trace, tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    for column, values, message in (
        ("predicted_tokens:bert", [3, 0], "row 1, field 'predicted_tokens:bert': 0: below 1"),
        ("predicted_tokens:bert", [3, None], "row 1, field 'predicted_tokens:bert': missing"),
        ("predicted_tokens:bert", [3.5, 1.0], "field 'predicted_tokens:bert': type double"),
        (
            "predicted_tokens:a b",
            [3, 1],
            "field 'predicted_tokens:a b': prediction 'a b': use only letters",
        ),
    ):
        pq.write_table(table.append_column(column, pa.array(values)), tmp_path / "bad.parquet")
        with pytest.raises(FormatError) as error:
            load_trace(tmp_path / "bad.parquet")
        assert message in str(error.value)


def test_errors_of_the_noisy_predictor_are_log_normal_with_median_one():
    long = trace_from_rounds([row("r", 0, [4] * 2_000)])
    predicted = parse_predictor("noisy:0.5").predict(np.zeros(50_000, dtype=np.int64), long, 0)
    error = np.log(predicted / 10_000)
    assert np.median(error) == pytest.approx(0, abs=0.01)
    assert error.std() == pytest.approx(0.5, rel=0.02)


def test_the_regressed_predictor_has_the_given_correlation_and_is_calibrated():
    """The logs of prediction and truth have correlation R.

    A regression of the truth on the prediction has slope 1, so predictions need no shrinkage.
    """
    rng = np.random.default_rng(0)
    lengths = np.maximum(2, np.exp(rng.normal(5, 1, 4_000))).astype(int)
    trace = trace_from_rounds([row(str(i), 1, [0] * int(n)) for i, n in enumerate(lengths)])
    truth = np.log(trace.output_tokens)
    all_rows = np.arange(len(truth))
    for r in (0.3, 0.8):
        predicted = np.log(parse_predictor(f"regressed:{r}").predict(all_rows, trace, 0))
        assert np.corrcoef(predicted, truth)[0, 1] == pytest.approx(r, abs=0.03)
        assert np.polyfit(predicted, truth, 1)[0] == pytest.approx(1, abs=0.08)
    assert np.array_equal(
        parse_predictor("regressed:1").predict(all_rows, trace, 0), trace.output_tokens
    )
    assert len(set(parse_predictor("regressed:0").predict(all_rows, trace, 0).tolist())) == 1


def test_the_first_predictions_do_not_depend_on_the_number_of_requests():
    trace = REFERENCE.with_prediction("mine", np.arange(len(REFERENCE)) + 1)
    rows = np.arange(40)
    for text in ("oracle", "noisy:1", "regressed:0.5", "learned", "column:mine"):
        predictor = parse_predictor(text)
        few, many = (predictor.predict(rows[:n], trace, 5) for n in (10, 40))
        assert np.array_equal(few, many[:10])
        assert many.dtype == np.int64
        assert many.min() >= 1
        other = predictor.predict(rows, trace, 6)
        assert np.array_equal(other, many) != predictor.random
