"""Spiking networks: everything needed to build, train and run one, nothing about attacking."""
