"""The command ``spikeflip``, also as ``python -m spikeflip``."""

from spikeflip.cli.ending import ends_told


def main() -> None:
    """Run the command; an interruption while it is imported is told as any other."""
    with ends_told():
        from spikeflip.cli.app import main as command

        command()


if __name__ == "__main__":
    main()
