"""`python -m lapsd`: the command `lapsd`."""

from lapsd.cli import main

if __name__ == "__main__":
    main()
