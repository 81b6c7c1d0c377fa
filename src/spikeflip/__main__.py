"""The command ``spikeflip``, also as ``python -m spikeflip``."""

import os

from spikeflip.cli.ending import ends_told


def main() -> None:
    """Run the command; an interruption while it is imported is told as any other."""
    spin_briefly()
    with ends_told():
        from spikeflip.cli.app import main as command

        command()


def spin_briefly() -> None:
    """Let OpenMP threads that wait give their core away soon, to the event engine's own threads and other processes.

    Those of PyTorch on Linux otherwise spin for milliseconds after every operation. The OpenMP library reads the number
    of rounds when PyTorch is imported, and worker processes inherit it. What the user says of waiting stands.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


if __name__ == "__main__":
    main()
