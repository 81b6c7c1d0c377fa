"""Settings with which every attack is done soon."""

_OWN = {"fgsm": {}, "greedy-pixels": {"steps": 3, "candidates": 2}, "greedy-flips": {"steps": 3, "candidates": 4}}


def few_steps(attack: str, steps: int) -> dict[str, int]:
    """Options of an attack; those that try candidates, or make one step, have their own count."""
    return _OWN.get(attack, {"steps": steps})
