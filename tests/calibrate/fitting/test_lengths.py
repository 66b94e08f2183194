"""Tests of predicted lengths: out of fold, by group, and compared with baselines."""

import numpy as np

from lapsd.calibrate.fitting.lengths import LEARNT, predict_lengths, prompt_counts

RNG = np.random.default_rng(0)


def data(signal: float, groups: int = 30, each: int = 6):
    """Return prompts with lengths that depend on the embedding, with strength `signal`.

    Lengths also depend on the group, which says nothing about other groups.
    """
    group = np.repeat(np.arange(groups), each)
    x = RNG.standard_normal((len(group), 12))
    of_group = RNG.standard_normal(groups)[group]
    x[:, 0] = group * 0.01 + 1e-3 * x[:, 0]
    log = 4 + signal * x[:, 1] + 0.8 * of_group + 0.05 * RNG.standard_normal(len(group))
    return (
        x,
        ["Some prompt"] * len(group),
        np.full(len(group), 20),
        np.clip(np.rint(np.exp(log)), 1, 400).astype(int),
        ["a"] * len(group),
        [str(g) for g in group],
    )


def test_the_ridge_learns_from_the_embedding_and_beats_the_baselines():
    x, texts, prompt, output, sets, groups = data(1.0)
    predicted, learned = predict_lengths(x, texts, prompt, output, sets, groups, cap=400)
    assert ((predicted >= 1) & (predicted <= 400)).all()
    quality = {how: rows["pooled"] for how, rows in learned.by_predictor.items()}
    ridge = quality["ridge on the prompt's embedding"]
    assert ridge.rank_correlation > 0.5
    assert 0.3 < ridge.kendall_tau < ridge.rank_correlation
    for baseline in ("prompt length", "median of the data set"):
        assert ridge.mean_absolute_error < quality[baseline].mean_absolute_error
    assert learned.censored_at_cap == int((output >= 400).sum()) > 0
    assert set(learned.by_predictor["prompt length"]) == {"pooled", "a"}


def test_effects_of_a_group_are_not_learnt():
    """The first feature identifies the group.

    With a random split, a predictor could learn the level of each group; with a grouped split it
    cannot.
    """
    x, texts, prompt, output, sets, groups = data(0.0)
    _, learned = predict_lengths(x, texts, prompt, output, sets, groups, cap=400)
    assert all(
        (rows["pooled"].rank_correlation or 0) < 0.35 for rows in learned.by_predictor.values()
    )


def test_a_stated_number_of_steps_predicts_lengths_of_new_templates():
    """Each group has its own wording and embedding; only the number is common to all groups."""
    rng = np.random.default_rng(1)
    steps = rng.integers(1, 13, 300)
    group = np.arange(300) % 15
    texts = [
        f"{'a ' * g}{rng.integers(20, 99)}, {rng.integers(20, 99)} in {s} steps"
        for g, s in zip(group, steps, strict=True)
    ]
    x = np.eye(15)[group] + 0.01 * rng.standard_normal((300, 15))
    output = np.rint(steps * 15 * np.exp(0.2 * rng.standard_normal(300))).astype(int)
    prompt = np.array([len(t) for t in texts])
    _, learned = predict_lengths(
        x, texts, prompt, output, ["a"] * 300, [str(g) for g in group], cap=400
    )
    tau = {how: rows["pooled"].kendall_tau or 0 for how, rows in learned.by_predictor.items()}
    assert tau[LEARNT] > 0.7
    assert all(other < 0.2 for how, other in tau.items() if how != LEARNT)


def test_prompt_counts_returns_counts_and_numbers_of_each_prompt():
    counted = np.expm1(
        prompt_counts(["Ada buys 12 mugs, 3 lamps at $40 each.\nWork it out in 7 steps.", "none"])
    )
    assert np.rint(counted).astype(int).tolist() == [[4, 1, 1, 7, 3, 7], [0, 0, 0, 0, 0, 0]]


def test_too_few_requests_or_groups_give_no_predictions():
    x, texts, prompt, output, sets, groups = data(1.0)
    assert (
        predict_lengths(
            x[:10], texts[:10], prompt[:10], output[:10], sets[:10], groups[:10], cap=400
        )
        is None
    )
    assert predict_lengths(x, texts, prompt, output, sets, ["one"] * len(x), cap=400) is None
