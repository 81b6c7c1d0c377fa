"""What ``python -m build`` makes installs and runs far from the checkout, also where there is no compiler."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

HOME = Path(__file__).parents[1]
NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}


def run(*words, cwd, **environment):
    done = subprocess.run([*map(str, words)], cwd=cwd, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with a wheel and an sdist, made in fresh environments as for a release."""
    pytest.importorskip("build", reason="needs build, of the extra test")
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(HOME)], cwd=out, capture_output=True, text=True
    )
    if "No matching distribution found" in done.stdout + done.stderr:
        pytest.skip("needs a package registry with scikit-build-core and nanobind")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def installed(what, home, **environment):
    """The Python of a new environment with a package and, beside it, what this one depends on."""
    run(sys.executable, "-m", "venv", home / "venv", cwd=home)
    python = home / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    # Paths in such a file are searched, and no .pth file in them is read: what is installed editable here is not found.
    others = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *sys.path])
    (Path(site) / "dependencies.pth").write_text(
        "\n".join(path for path in others if path.endswith("-packages")) + "\n"
    )
    run(python, "-m", "pip", "install", "--no-deps", "--force-reinstall", what, cwd=home, **environment)
    return python


def attacks(python, home):
    """Attack a victim that comes along with a fresh installation, far from the checkout."""
    place = run(python, "-c", "import spikeflip; print(spikeflip.__file__)", cwd=home).strip()
    assert Path(place).is_relative_to(home)
    assert "demo-digits" in run(python, "-m", "spikeflip", "list", "victims", cwd=home)
    options = ["--samples", "8", "--draws", "2", "--out", "run"]
    assert "clean accuracy" in run(python, "-m", "spikeflip", "attack", "--victim", "demo-digits", *options, cwd=home)
    assert (home / "run" / "report.html").stat().st_size > 10_000
    return run(python, "-m", "spikeflip", "--version", cwd=home)


def test_the_wheel_runs_with_the_event_engine(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    version = attacks(installed(wheel, tmp_path), tmp_path)
    assert "none, installed without" not in version


def test_the_sdist_installs_without_a_compiler_and_runs_on_pytorch(built, tmp_path):
    (sdist,) = built.glob("*.tar.gz")
    version = attacks(installed(sdist, tmp_path, **NO_COMPILER), tmp_path)
    assert "none, installed without a C++ compiler" in version


def test_the_wheel_has_all_that_the_package_reads_and_no_sources_of_the_engine(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    kept = (path for path in (HOME / "src" / "spikeflip").rglob("*") if path.is_file() and "native" not in path.parts)
    wanted = {path.relative_to(HOME / "src").as_posix() for path in kept if path.suffix not in (".pyc", ".so")}
    assert wanted <= names
    assert not [name for name in names if name.endswith((".cpp", ".hpp", ".inc"))]
    assert any(name.startswith("spikeflip/snn/engines/_native") and name.endswith(".so") for name in names)


def test_the_sdist_has_the_tests_and_the_licence_and_nothing_that_was_made(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "tests/test_packaging.py"} <= names
    assert "src/spikeflip/snn/engines/native/CMakeLists.txt" in names
    assert not [name for name in names if name.endswith((".so", ".pyc")) or name.startswith((".git/", ".ci", "build/"))]
