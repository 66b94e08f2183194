"""`python -m sim.cli`: the command `lapsd`."""

from sim.cli import main

if __name__ == "__main__":
    main()
