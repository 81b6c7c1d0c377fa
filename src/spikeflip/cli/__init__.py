"""The command ``spikeflip``: its options, what it says, and how it ends."""
