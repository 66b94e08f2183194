"""Tests that figures contain their series, axis labels with units, legends and numbers."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lapsd import compare
from lapsd.cli.timings import read_timings
from lapsd.papers.laps_sd import examples
from lapsd.papers.laps_sd.claims import estimates, latency, queues, switching
from lapsd.papers.laps_sd.paper import LAPS_SD
from lapsd.papers.laps_sd.questions import (
    acceptance,
    interpretations,
    preemption,
    stability,
    winners,
)
from lapsd.policies import FCFS, LapsSD
from lapsd.sim.experiment.stability import stable_requests
from lapsd.sim.figures.acceptance import plot_trace
from lapsd.sim.figures.costs import plot_profile
from lapsd.sim.figures.latency import plot_comparison
from lapsd.sim.figures.speculation import best_drafts, last_paying, plot_speculation
from lapsd.sim.figures.style import COLOURS, NAMES, OTHER, colour_of
from lapsd.sim.figures.sweep import plot_heat, plot_lines
from lapsd.traces import describe, load_profile, load_trace
from lapsd.traces.files import BUNDLED
from tests.papers import synthetic

EVIDENCE = synthetic.evidence()
CASES = {
    1: (examples.SCHEDULES, synthetic.schedules()),
    2: (switching.QUESTION, synthetic.switching(bus=0.002, recompute=0.04)),
    3: (examples.CURVES, synthetic.curves()),
    4: (examples.QUEUES, synthetic.queue_runs()),
    5: (latency.QUESTION, synthetic.latency(lambda d, a, p: -5.0)),
    6: (queues.QUESTION, synthetic.queues({10: 6, 30: 4}, 0.9)),
    7: (estimates.QUESTION, synthetic.estimate_errors(lambda d, p: 0.4)),
    8: (interpretations.QUESTION, synthetic.interpretations(1.0)),
    9: (stability.QUESTION, synthetic.stability(0.1, 0.2)),
    10: (winners.QUESTION, synthetic.cells(wins=True)),
    11: (winners.QUESTION, synthetic.cells(wins=True)),
    12: (acceptance.QUESTION, synthetic.value_of_acceptance()),
    13: (preemption.QUESTION, synthetic.preemption()),
}


def drawn(number):
    """Return a figure of the paper, drawn from synthetic findings, and its axes."""
    question, tables = CASES[number]
    figure = next(f for f in question.draw(EVIDENCE, tables) if f.number == number).draw()
    figure.canvas.draw()  # computes the layout, and fails where a text cannot be rendered
    return figure, figure.axes


def legend(holder):
    """Return the entries of the legend of a figure or of axes."""
    box = holder.get_legend() if hasattr(holder, "get_legend") else holder.legends[0]
    return [text.get_text() for text in box.get_texts()]


def labels(ax):
    return ax.get_xlabel(), ax.get_ylabel()


def lines(ax):
    """Return the points of each line with intervals, by label."""
    return {c.get_label(): c.lines[0].get_xydata() for c in ax.containers}


def curves(ax):
    """Return the points of each labelled line, by label."""
    return {
        line.get_label(): line.get_xydata()
        for line in ax.lines
        if not line.get_label().startswith("_")
    }


def title(ax):
    return ax.get_title(loc="left")


def test_every_figure_of_laps_sd_is_among_the_cases():
    assert {question for question, _ in CASES.values()} <= set(LAPS_SD.questions)
    with_figures = [q for q in LAPS_SD.questions if "figure" in q.about]
    assert {question for question, _ in CASES.values()} == set(with_figures)


def test_schedules_show_when_each_request_ran_and_mean_latency():
    _, (first, second) = drawn(1)
    assert [title(ax) for ax in (first, second)] == [
        "FCFS: mean latency 0.05 s",
        "LAPS-SD: mean latency 0.05 s",
    ]
    assert labels(second) == ("time, s", "request")
    bars = np.array([(b.get_x(), b.get_width()) for b in first.patches])
    assert bars[:, 0] == pytest.approx([0, 0.005, 0.03, 0.035, 0.06, 0.065])
    assert bars[:, 1] == pytest.approx([0.005, 0.025] * 3)
    assert {tuple(b.get_facecolor()) for b in first.patches} != {
        tuple(b.get_facecolor()) for b in second.patches
    }
    assert first.lines[0].get_xdata() == pytest.approx([0, 0.01, 0.02])


def test_the_time_of_a_switch_is_one_line_per_method_and_a_star_for_the_paper():
    _, (ax,) = drawn(2)
    assert labels(ax) == ("output length, tokens", "one switch / inference time, %")
    assert legend(ax) == ["bus", "recompute", "paper: ~14%"]
    assert ax.lines[0].get_xydata()[2] == pytest.approx([500, 0.2])
    assert ax.lines[2].get_xydata().tolist() == [pytest.approx([500, 14])]
    assert ax.get_yscale() == "log"


def test_running_acceptance_has_a_dot_where_a_request_becomes_perceptible():
    _, (ax,) = drawn(3)
    assert labels(ax) == ("round", "running acceptance rate")
    assert legend(ax) == ["code, round 1", "prose, round 2", "sums, round 3"]
    rates, dots = ax.lines[0::2], ax.lines[1::2]
    assert [len(rate.get_xydata()) for rate in rates] == [4, 4, 4]
    assert [d.get_xydata().tolist()[0] for d in dots] == [
        pytest.approx([r + 1, 0.1 * (2 * r + 1)]) for r in range(3)
    ]


def test_the_colour_of_a_bar_changes_where_a_request_changes_queues():
    _, (ax,) = drawn(4)
    assert labels(ax) == ("time, s", "request, in order of arrival")
    assert legend(ax) == ["becomes perceptible", *(f"queue {q}" for q in range(1, 5))]
    shades = {
        c.get_label(): c[0].get_facecolor()
        for c in ax.containers
        if c.get_label().startswith("queue")
    }
    thick = [bar for bar in ax.patches if bar.get_height() > 0.8 and bar.get_width()]
    assert [bar.get_x() for bar in thick] == pytest.approx([0, 0.01, 0.02, 0.03])
    assert [bar.get_y() for bar in thick] == pytest.approx([-0.41, -0.41, -0.41, 0.59])
    assert [bar.get_facecolor() for bar in thick] == [shades[f"queue {q}"] for q in (1, 1, 2, 1)]
    diamonds = [line.get_xydata().tolist() for line in ax.lines if len(line.get_xydata())]
    assert diamonds == [[pytest.approx([0.02, 0])]]


def test_latency_is_one_line_per_policy_with_a_band_and_the_bound():
    figure, axes = drawn(5)
    assert len(axes) == 6
    assert legend(figure) == [*(NAMES[p] for p in synthetic.POLICIES), "bound"]
    assert [title(ax) for ax in axes[:3]] == synthetic.DATASETS
    assert labels(axes[0])[1] == "Poisson, load 0.8:\nmean latency, s"
    assert labels(axes[3]) == ("requests", "all at once:\nmean latency, s")
    assert curves(axes[4])["LP-SJF"].tolist() == [[10, 1], [30, 3]]
    band = axes[4].collections[2].get_paths()[0].vertices
    at_10 = band[band[:, 0] == 10, 1]
    assert (at_10.min(), at_10.max()) == pytest.approx((0.9, 1.1))
    assert axes[4].lines[2].get_color() == COLOURS["lp-sjf"]


def test_no_policy_is_drawn_below_the_bound():
    """Policies and the bound once had different x, and SRPT seemed to be below the bound."""
    tables = synthetic.latency(lambda d, a, p: -5.0)
    rows = tables["latency"]
    srpt_s = rows[rows["policy"] == "srpt"].set_index(["dataset", "all_at_once", "requests"])
    keys = pd.MultiIndex.from_frame(rows[["dataset", "all_at_once", "requests"]])
    tables["latency"] = rows.assign(bound_s=srpt_s["mean_s"].loc[keys].to_numpy())
    (figure,) = latency.QUESTION.draw(EVIDENCE, tables)
    for ax in figure.draw().axes:
        points = curves(ax)
        for policy in (NAMES[p] for p in synthetic.POLICIES):
            assert points[policy][:, 0].tolist() == points["bound"][:, 0].tolist() == [10, 30]
        assert points["SRPT"].tolist() == points["bound"].tolist()


@pytest.mark.parametrize("number", [6, 12, 13])
def test_lines_are_drawn_at_their_true_x(number):
    wanted = {6: set(range(1, 9)), 12: {0, 1, 4}, 13: {0.4, 0.8, 1.6, 0.7, 0.9, 1.0, 1.2}}
    _, axes = drawn(number)
    found = {x for ax in axes for c in ax.containers for x in c.lines[0].get_xdata()}
    assert found == wanted[number]


def test_numbers_of_queues_are_compared_under_both_rules():
    _, axes = drawn(6)
    assert [title(ax) for ax in axes[:2]] == ["Sup₁ scaled with K", "Sup₁ fixed"]
    assert labels(axes[0])[1] == "mean latency\nvs. K = 4, %"
    assert labels(axes[2]) == ("K, queues", "requests")
    assert legend(axes[0]) == ["10 requests", "30 requests"]
    assert lines(axes[0])["10 requests"][:, 1].tolist() == [abs(k - 6) for k in range(1, 9)]
    shares = axes[2].images[0].get_array()
    assert (shares[0, 5], shares[1, 3]) == (80, 80)
    assert [t.get_position() for t in axes[2].texts if t.get_text() == "80"] == [(6, 0), (4, 1)]
    assert axes[4].get_ylabel() == "K is best, % of resamples"


def test_no_difference_is_cut_off_below_the_axis():
    tables = synthetic.queues({10: 6, 30: 4}, 0.9)
    tables["queues"].loc[0, ["percent", "low", "high"]] = [-20.0, -22.0, -18.0]
    (figure,) = queues.QUESTION.draw(EVIDENCE, tables)
    assert figure.draw().axes[0].get_ylim()[0] < -22


def test_errors_of_estimated_times_are_bars_with_a_line_for_the_paper():
    figure, axes = drawn(7)
    assert [title(ax) for ax in axes] == [
        f"lengths: {p}" for p in ("oracle", "noisy:0.5", "regressed:0.6", "learned")
    ]
    assert labels(axes[0])[1] == "mean |T̃ − T| / T, %"
    assert legend(figure) == [
        "paper: 6.84%",
        "T̃",
        "length only",
        "acceptance only",
        "round cost only",
    ]
    bars = next(c for c in axes[1].containers if c.get_label() == "length only")
    assert [b.get_height() for b in bars] == pytest.approx([20.0] * 4)
    assert [t.get_text() for t in axes[0].get_xticklabels()] == [*synthetic.DATASETS, "all"]
    assert axes[0].lines[-1].get_ydata() == pytest.approx([6.84, 6.84])


def test_interpretations_are_sorted_and_have_names():
    _, (own, others) = drawn(8)
    assert title(own) == "other interpretations and parameters"
    assert others.get_xlabel() == "mean latency vs. LAPS-SD, %"
    assert len(own.get_yticks()) == len(interpretations.INTERPRETATIONS)
    assert [t.get_text() for t in others.get_yticklabels()] == [
        NAMES[p] for p in interpretations.OTHERS
    ]
    dots = others.collections[1].get_offsets()
    assert dots[:, 0].tolist() == [10.0 * i - 5 for i in range(6)]
    assert others.collections[0].get_segments()[0][:, 0].tolist() == [-6.0, -4.0]


def test_each_kind_of_stability_test_and_shuffled_rounds_have_their_marker():
    figure, axes = drawn(9)
    assert [title(ax) for ax in axes] == ["all", *synthetic.DATASETS]
    assert labels(axes[0]) == ("median round of becoming perceptible", "mean latency\nvs. FCFS, %")
    assert legend(figure) == [*stability.KINDS.values(), "γ, δ on shuffled rounds"]
    assert axes[0].collections[0].get_offsets().tolist() == [[5, -38], [10, -36]]
    assert axes[0].collections[0].get_sizes().tolist() == pytest.approx(
        [6 + 26 * 0.8, 6 + 26 * 0.7]
    )
    assert axes[0].get_xscale() == "log"


def test_the_map_names_the_best_policy_of_each_cell():
    _, axes = drawn(10)
    assert [title(ax) for ax in axes] == [
        f"load {load:g}, {transfers}"
        for transfers in ("KV transfers by the profile", "KV transfers expensive")
        for load in (0.5, 0.8)
    ]
    assert labels(axes[2]) == ("length error (SD of the log)", "acceptance spread")
    texts = [text.get_text() for text in axes[0].texts]
    assert len(texts) == 9
    assert texts[:4] == [
        "LP-SRPT\n+2.0\n1.10",
        "LP-SRPT\n+2.5\n1.15",
        "LP-SRPT\n+3.0\n1.20",
        "LP-SRPT\n+2.0\n1.10",
    ]
    assert texts[-1] == "LAPS-SD\n+3.0\n1.20"
    assert [t.get_text() for t in axes[2].get_xticklabels()] == ["0", "0.5", "1"]
    stars = [line.get_xydata().tolist()[0] for line in axes[0].lines]
    assert stars[0] == pytest.approx([1, 0.6])  # error 0.5 at spread 1
    assert len(stars) == 2


def test_the_difference_to_the_best_other_policy_is_in_percent():
    _, axes = drawn(11)
    assert axes[0].images[0].get_array()[2].tolist() == [-3, -3.5, -4]
    assert axes[2].images[0].get_array()[2].tolist() == [8, 8, 8]
    assert [t.get_text() for t in axes[2].texts][-3:] == ["+8.0"] * 3
    assert axes[2].texts[-1].get_fontweight() == "bold"
    assert axes[4].get_ylabel() == "LAPS-SD vs. best other policy, %"
    assert axes[0].images[0].get_clim() == (-8, 8)


def test_the_gain_from_knowing_acceptance_is_one_line_per_length_error():
    _, (left, right) = drawn(12)
    assert labels(left) == ("acceptance spread (1: as recorded)", "difference in mean latency, %")
    assert [title(ax) for ax in (left, right)] == list(acceptance.PANELS.values())
    assert legend(left) == ["length error 0", "length error 0.5", "length error 1"]
    assert lines(right)["length error 1"].tolist() == [[0, -1], [1, -3], [4, -9]]


def test_effects_are_lines_for_generated_and_dots_for_recorded_requests():
    _, (ax,) = drawn(13)
    assert labels(ax) == ("CV of requests' times alone", "difference in mean latency, %")
    assert legend(ax) == list(preemption.PARTS.values())
    assert lines(ax)["both: LAPS-SD vs. LP-SJF"] == pytest.approx(
        np.array([[0.4, 8], [0.8, 0], [1.6, -16]])
    )
    dots = ax.containers[1].lines[0]
    assert (dots.get_linestyle(), dots.get_fillstyle()) == ("None", "none")
    assert dots.get_xdata().tolist() == [0.7, 0.9, 1.0, 1.2]
    assert [t.get_text() for t in ax.texts] == ["sums", "all", "code", "prose"]


def test_a_comparison_is_one_bar_per_policy_with_interval_tail_and_bound():
    rows = pd.DataFrame(
        {
            "policy": ["fcfs", "mine"],
            "mean_s": [2.0, 1.0],
            "high_s": [2.5, np.nan],
            "p99_latency_s": [9.0, 8.0],
            "max_slowdown": [30.0, 20.0],
        }
    )
    ax = plot_comparison(rows, 0.5, "what was run")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["fcfs", "mine"]
    assert ax.get_xlabel() == "mean latency, s (95 % interval over seeds)"
    assert [b.get_width() for b in ax.patches] == [2.0, 1.0]
    assert [t.get_text() for t in ax.texts] == [
        "2 ± 0.5 s\np99 9 s, worst slowdown 30",
        "1 s\np99 8 s, worst slowdown 20",
        "bound 0.5 s",
    ]
    assert title(ax) == "what was run"
    assert [t.get_text() for t in plot_comparison(rows, np.nan, "").texts][2:] == []


def test_a_sweep_has_lines_and_levels_for_policies_without_the_parameter():
    points = pd.DataFrame(
        {
            "line": ["las", "las", "laps-sd"],
            "label": ["las", "las", "laps-sd"],
            "x": ["b", "a", "a"],
            "value": [1.0, 2.0, 3.0],
            "low": [0.5, 1.5, 2.0],
            "high": [1.5, 2.5, 4.0],
        }
    )
    level = pd.DataFrame({"policy": ["fcfs"], "value": [2.5]})
    figure = plot_lines(
        points, level, policies=True, x="evict", y="mean latency, s", title="20 seeds"
    )
    (ax,) = figure.axes
    assert labels(ax) == ("evict", "mean latency, s (95 % interval over seeds)")
    assert legend(ax) == ["las", "laps-sd"]
    assert lines(ax)["las"].tolist() == [[1, 1], [0, 2]]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]
    assert ax.containers[1].lines[2][0].get_segments()[0].tolist() == [[0, 2], [0, 4]]
    assert ax.lines[-1].get_ydata()[0] == 2.5
    assert ax.texts[0].get_text() == "fcfs"


def test_a_heat_map_grows_upwards_and_shows_the_number_of_each_cell():
    table = pd.DataFrame([[1.0, 2.0], [3.0, np.nan]], index=[10, 20], columns=[0.5, 0.8])
    figure = plot_heat(table, x="load", y="requests", value="mean latency, s", title="5 seeds")
    ax, bar = figure.axes
    assert labels(ax) == ("load", "requests")
    assert bar.get_ylabel() == "mean latency, s"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["20", "10"]
    assert [t.get_text() for t in ax.texts] == ["3", "1", "2"]


def test_a_trace_is_drawn_by_data_set_in_four_panels():
    trace = load_trace("reference")
    figure = plot_trace(
        describe(trace), stable_requests(trace, LapsSD()), "γ = 5, δ = 0.05", "a title"
    )
    axes = figure.axes
    assert [entry.partition(":")[0] for entry in legend(axes[0])] == ["code", "prose", "arithmetic"]
    assert legend(axes[3]) == ["as recorded", "rounds shuffled within each request"]
    assert [labels(ax)[0] for ax in axes] == [
        "acceptance of a request (accepted / drafted)",
        "lag, rounds",
        "position in the draft",
        "perceptible after rounds (γ = 5, δ = 0.05)",
    ]
    described = describe(trace).set_index("dataset")
    assert axes[1].lines[0].get_ydata() == pytest.approx(described.loc["code", "autocorrelation"])
    assert figure._repr_png_()[:4] == b"\x89PNG"  # notebooks display it


def test_a_profile_is_drawn_as_measured_points_and_fitted_lines():
    profile = load_profile("reference")
    figure = plot_profile(profile, *read_timings(profile, BUNDLED / "reference.json"))
    passes, grid, prefill, swaps = figure.axes
    assert labels(passes) == ("context, tokens", "ms")
    assert legend(passes) == ["verify, 5 tokens", "draft step"]
    assert labels(grid) == ("round measured, ms (median of a cell)", "predicted, ms")
    assert legend(prefill) == ["batch 1", "larger batches"]
    assert labels(swaps)[0] == "tokens of both models' KV cache"
    assert len(legend(swaps)) == 2 * len(profile.costs.swap_ways)
    line = prefill.lines[0].get_xydata()[1]
    assert line[1] == pytest.approx(profile.costs.prefill(int(line[0])) / 1e6)


def pays_table(speed_ups):
    """Return a table of when speculation pays from speed-ups by batch size and draft length."""
    return pd.DataFrame(
        [
            {
                "batch": batch,
                "draft_tokens": n,
                "tokens_per_s": 100.0 * batch * over,
                "over_plain": over,
                "over_plain_low": over - (0.1 if n else 0),
                "over_plain_high": over + (0.1 if n else 0),
            }
            for batch, overs in speed_ups.items()
            for n, over in enumerate(overs)
        ]
    )


def test_speculation_is_one_line_per_batch_size_with_a_band_and_a_star_at_the_best():
    pays = pays_table({1: [1, 1.5, 2.0], 8: [1, 1.25, 1.1], 32: [1, 0.8, 0.6]})
    figure = plot_speculation(pays, (1, 8, 32), title="a title", caption="a caption")
    figure.canvas.draw()
    left, above, region = figure.axes
    assert labels(left) == (
        "draft tokens per round (n)",
        "tokens per second, relative to plain decoding (n = 0)",
    )
    assert legend(left) == [
        "1: 100; 200 at n = 2",
        "8: 800; 1,000 at n = 1",
        "32: 3,200; n = 0 is best",
    ]
    assert curves(left)["8: 800; 1,000 at n = 1"].tolist() == [[0, 1], [1, 1.25], [2, 1.1]]
    band = left.collections[0].get_paths()[0].vertices
    assert sorted(set(band[band[:, 0] == 2, 1])) == pytest.approx([1.9, 2.1])
    stars = [line.get_xydata().tolist() for line in left.lines if line.get_marker() == "*"]
    assert stars == [[[2, 2.0]], [[1, 1.25]], [[0, 1]]]
    assert above.lines[0].get_xydata().tolist() == [[1, 2.0], [8, 1.25], [32, 0.8]]
    assert [t.get_text() for t in above.texts] == [
        "2.00\nn = 2",
        "1.25\nn = 1",
        "0.80\nn = 1",
        "plain decoding\nis faster above 8",
    ]
    assert labels(region) == ("batch size", "draft tokens per round (0: plain)")
    assert legend(region) == ["within 3 % of the best", "faster", "slower"]
    levels = region.collections[0].get_array()
    assert levels.tolist() == [[0, 0, 2], [1, 2, 0], [2, 1, 0]]  # draft lengths upwards
    assert (figure.get_suptitle(), figure.get_supxlabel()) == ("a title", "a caption")


def test_the_figure_of_speculation_has_gaps_where_a_draft_length_does_not_fit():
    pays = pays_table({1: [1, 1.5, 1.6], 4: [1, 1.4]})
    figure = plot_speculation(pays, (1, 4), title="", caption="")
    left, above, region = figure.axes
    assert [len(line) for line in curves(left).values()] == [3, 2]
    assert np.isnan(region.collections[0].get_array().filled(np.nan)[2, 1])
    assert [t.get_text() for t in above.texts] == ["1.60\nn = 2", "1.40\nn = 1"]


def test_speculation_at_one_batch_size_without_intervals_can_be_drawn():
    pays = pays_table({1: [1, 0.9]}).assign(over_plain_low=np.nan, over_plain_high=np.nan)
    figure = plot_speculation(pays, (1,), title="", caption="")
    figure.canvas.draw()
    assert last_paying(best_drafts(pays)) == 0
    assert figure.axes[0].get_ylim()[1] > 1


def test_drawing_schedules_needs_recorded_timelines():
    trace, profile = load_trace("reference"), load_profile("reference")
    with pytest.raises(ValueError, match="no timelines were recorded"):
        compare(trace, profile, [FCFS()], requests=3, seeds=1).plot_schedules()
    figure = compare(
        trace, profile, [FCFS(), LapsSD()], requests=3, seeds=1, timeline=True
    ).plot_schedules()
    assert [title(ax).partition(":")[0] for ax in figure.axes] == ["fcfs", "laps-sd"]


def test_a_policy_has_the_same_colour_with_all_parameters():
    assert colour_of("laps-sd:K=2") == colour_of("laps-sd") == COLOURS["laps-sd"]
    assert len({colour_of("mine", i) for i in range(len(OTHER))}) == len(OTHER)
    assert set(COLOURS) <= set(NAMES)


def test_matplotlib_is_imported_with_the_first_figure():
    code = "import sys, lapsd.cli.show, lapsd.cli.reproduce; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
