"""Triton's interpreter, which runs kernels of a GPU on CPU tensors in a process that asked for it before the import."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="this PyTorch comes without Triton")


def check_in_the_interpreter(file: str) -> None:
    """Run the tests of a file that need a GPU in the interpreter; none may be skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-n", "0", file]
    answer = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout
    assert "passed" in answer.stdout
    assert "skipped" not in answer.stdout
