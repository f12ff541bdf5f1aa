"""``python -m kdhub``: the command line, for environments whose scripts are not on the path."""

from kdhub.cli.main import entry

if __name__ == "__main__":
    entry()
