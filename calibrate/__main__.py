"""`python -m calibrate`: the verb `calibrate` without the simulator."""

import sys

from calibrate.cli import main

if __name__ == "__main__":
    sys.exit(main())
