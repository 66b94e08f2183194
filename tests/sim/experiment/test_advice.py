"""Tests of the advised table of draft lengths."""

import pandas as pd
import pytest

from lapsd.policies.drafts import Table
from lapsd.sim.experiment.advice import Entry, draft_table, gains, table_policy, vllm_config
from lapsd.sim.experiment.prepared_scenario import PreparedScenario

TABLE = [Entry(1, 2, 5), Entry(3, 4, 0)]


def pays(*rates: dict[int, float]) -> pd.DataFrame:
    """Return throughputs by draft length, for batch sizes 1, 2, ..."""
    return pd.DataFrame(
        [
            {"batch": batch, "draft_tokens": length, "tokens_per_s": rate}
            for batch, by_length in enumerate(rates, 1)
            for length, rate in by_length.items()
        ]
    )


def test_each_batch_size_gets_the_length_with_the_highest_throughput():
    found = draft_table(pays({0: 1, 3: 5}, {0: 2, 3: 4}, {0: 3, 3: 2}))
    assert found == [Entry(1, 2, 3), Entry(3, 3, 0)]


def test_a_neighbour_keeps_its_length_where_that_loses_little():
    flickers = pays({3: 100, 4: 99}, {3: 99.7, 4: 100}, {3: 100, 4: 99}, {3: 90, 4: 100})
    assert draft_table(flickers) == [Entry(1, 3, 3), Entry(4, 4, 4)]
    assert len(draft_table(flickers, tolerance=0)) == 4


def test_the_first_length_may_be_second_best_if_the_table_is_then_shorter():
    assert draft_table(pays({3: 100, 4: 99.8}, {3: 90, 4: 100})) == [Entry(1, 2, 4)]


def test_of_lengths_that_reach_equally_far_the_faster_is_taken():
    assert draft_table(pays({3: 99.9, 4: 100}, {3: 99.9, 4: 100})) == [Entry(1, 2, 4)]


def test_a_length_that_does_not_fit_at_a_batch_size_ends_there():
    assert draft_table(pays({0: 1, 8: 5}, {0: 2})) == [Entry(1, 1, 8), Entry(2, 2, 0)]


def test_the_configuration_of_vllm_lists_first_last_and_length():
    assert vllm_config(TABLE) == {
        "num_speculative_tokens": 5,
        "num_speculative_tokens_per_batch_size": [[1, 2, 5], [3, 4, 0]],
    }
    assert vllm_config([Entry(1, 4, 0)])["num_speculative_tokens"] == 1  # vLLM takes no 0


def test_the_policy_of_a_table_has_its_lengths():
    assert table_policy(TABLE) == Table(most=5, lengths="1=5/3=0")


def test_the_best_fixed_length_is_the_baseline():
    prepared = PreparedScenario.of("reference", "llama-7b-h200", batch=4, requests=12)
    found = gains(prepared, TABLE, seeds=3).set_index("name")
    assert list(found.index) == ["off", "best fixed", "table", "gated"]
    assert found.loc["best fixed", "to_best"] == 0
    assert found.loc["off", "to_off"] == 0
    assert found.loc["off", "to_best"] > 0 > found.loc["best fixed", "to_off"]
    assert found.loc["gated", "to_best_low"] < found.loc["gated", "to_best"]
    with pytest.raises(ValueError, match="seeds=0"):
        gains(prepared, TABLE, seeds=0)
