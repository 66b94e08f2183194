"""Beyond LAPS-SD: an evaluation of the policy Kernel-Gittins, and the paper's open questions."""
