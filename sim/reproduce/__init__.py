"""The LAPS-SD paper, reproduced and questioned on measured traces and profiles: `sim.reproduce.run.reproduce`."""
