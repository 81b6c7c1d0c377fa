"""How a SpikingNetwork is executed. An engine is chosen behind the network: attacks never know which one runs."""
