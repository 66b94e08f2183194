"""The order of the pages of the site. Knows nothing of Sphinx."""

GUIDES = (
    "calibrate",
    "gpu-costs",
    "traces",
    "sweeps",
    "clusters",
    "own-policy",
    "own-router",
    "own-memory-manager",
    "vllm",
)
RESULTS = ("laps-sd", "laps-sd-h200", "alise", "kernel-gittins", "draft-length", "routing")
REFERENCE = (
    "python",
    "commands",
    "formats",
    "metrics",
    "model",
    "memory-managers",
    "servers",
    "servers-theory",
)
CAPTIONS = {
    "First steps": ("docs/install", "docs/quickstart", "docs/concepts", "docs/tutorial"),
    "Guides": tuple(f"docs/guides/{name}" for name in GUIDES),
    "Policies and results": (
        "docs/policies",
        "docs/validation",
        *(f"docs/results/{name}" for name in RESULTS if name != "laps-sd-h200"),
    ),
    "Reference": tuple(f"docs/reference/{name}" for name in REFERENCE),
    "Project": ("docs/limitations", "docs/faq", "docs/citing", "CONTRIBUTING", "CHANGELOG"),
}
APPENDICES = {
    "docs/results/laps-sd": ("docs/results/laps-sd/claims", "docs/results/laps-sd-h200/claims"),
    **{
        f"docs/results/{name}": (f"docs/results/{name}/claims",)
        for name in RESULTS
        if not name.startswith("laps-sd")
    },
    "docs/validation": ("docs/validation-tables",),
    "docs/reference/commands": ("docs/reference/commands/*",),
    "docs/reference/python": ("docs/reference/api/*",),
    "docs/guides/calibrate": ("calibrate/reference/data/MODEL_CARD",),
}
