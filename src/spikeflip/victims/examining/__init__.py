"""What is asked of a foreign model before it is attacked, by ``wrap`` and, in full, by ``doctor``."""
