"""Predicted lengths: out of fold, by group, and beside baselines."""

import numpy as np

from calibrate.fitting.lengths import predict_lengths

RNG = np.random.default_rng(0)


def data(signal: float, groups: int = 30, each: int = 6):
    """Lengths that depend on the embedding by `signal`, and on the group in a way that no other group shows."""
    group = np.repeat(np.arange(groups), each)
    x = RNG.standard_normal((len(group), 12))
    of_group = RNG.standard_normal(groups)[group]
    x[:, 0] = group * 0.01 + 1e-3 * x[:, 0]
    log = 4 + signal * x[:, 1] + 0.8 * of_group + 0.05 * RNG.standard_normal(len(group))
    return (
        x,
        np.full(len(group), 20),
        np.clip(np.rint(np.exp(log)), 1, 400).astype(int),
        ["a"] * len(group),
        [str(g) for g in group],
    )


def test_a_signal_in_the_embedding_is_found_and_beats_the_baselines():
    x, prompt, output, sets, groups = data(1.0)
    predicted, learned = predict_lengths(x, prompt, output, sets, groups, cap=400)
    assert ((predicted >= 1) & (predicted <= 400)).all()
    quality = {how: rows["pooled"] for how, rows in learned.by_predictor.items()}
    assert quality["ridge on the prompt's embedding"].rank_correlation > 0.5
    for baseline in ("prompt length", "median of the data set"):
        ridge = quality["ridge on the prompt's embedding"]
        assert ridge.mean_absolute_error < quality[baseline].mean_absolute_error
    assert learned.censored_at_cap == int((output >= 400).sum()) > 0
    assert set(learned.by_predictor["prompt length"]) == {"pooled", "a"}


def test_what_only_the_group_tells_is_not_learnt():
    """The first feature names the group; a random split would find its level, a grouped one cannot."""
    x, prompt, output, sets, groups = data(0.0)
    _, learned = predict_lengths(x, prompt, output, sets, groups, cap=400)
    assert (learned.by_predictor["ridge on the prompt's embedding"]["pooled"].rank_correlation or 0) < 0.35


def test_too_little_to_learn_from_is_not_learnt_from():
    x, prompt, output, sets, groups = data(1.0)
    assert predict_lengths(x[:10], prompt[:10], output[:10], sets[:10], groups[:10], cap=400) is None
    assert predict_lengths(x, prompt, output, sets, ["one"] * len(x), cap=400) is None
