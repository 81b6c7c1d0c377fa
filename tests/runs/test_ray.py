"""The Ray executor on a cluster of three nodes of this machine, one of which goes away in mid-run."""

import threading

import pytest

from spikeflip.errors import SpikeflipError
from spikeflip.runs import AttackConfig, Execution, run_attack
from spikeflip.runs.ray_executor import connected

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


@pytest.fixture
def cluster(monkeypatch):
    """Three nodes with one CPU each, on 127.0.0.1 alone, without dashboard and usage reports."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # else Ray takes another address than 127.0.0.1
    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20, "node_ip_address": "127.0.0.1"}
    started = Cluster(initialize_head=True, head_node_args=node | {"num_gpus": 0})
    started.others = [started.add_node(**node) for _ in range(2)]
    started.node = node
    yield started
    ray.shutdown()
    started.shutdown()


def config(victim, **options):
    return AttackConfig(victim=victim, target="all", trace=True, **options)


def test_a_cluster_that_changes_gives_the_bytes_of_the_local_executor(cluster, small_victim, results, tmp_path):
    options = config(small_victim, samples=60, shard_size=20, draws=200)
    run_attack(options, tmp_path / "local")
    seen, changed = [], threading.Event()

    def progress(stage, done, every):
        seen.append((stage, done, every))
        if stage == "judge" and done > every // 4 and not changed.is_set():
            changed.set()
            cluster.remove_node(cluster.others[0], allow_graceful=False)
            cluster.add_node(**cluster.node)

    run_attack(
        options, tmp_path / "ray", execution=Execution(executor="ray", address=cluster.address), progress=progress
    )
    assert changed.is_set()
    assert len({node["NodeID"] for node in ray_nodes(cluster)}) == 4
    assert results(tmp_path / "ray") == results(tmp_path / "local")
    assert seen[-1][1:] == (540, 540)
    assert not ray.is_initialized()


def ray_nodes(cluster):
    ray.init(cluster.address, log_to_driver=False)
    try:
        return ray.nodes()
    finally:
        ray.shutdown()


def test_recordings_travel_with_their_shards(small_recordings, results, tmp_path, monkeypatch):
    victim, folder = small_recordings
    options = AttackConfig(victim=victim, input=folder, shard_size=2, steps=3)
    run_attack(options, tmp_path / "local")
    run_attack(options, tmp_path / "ray", execution=Execution(executor="ray", workers=2))
    assert results(tmp_path / "ray") == results(tmp_path / "local")
    assert any(name.startswith("adversarial/") for name in results(tmp_path / "ray"))


def test_a_run_begun_with_ray_ends_without_it(small_victim, undisturbed, results, tmp_path):
    options = config(small_victim, samples=6, shard_size=10, draws=5)

    def stop(_stage, done, every):
        if done > every // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_attack(options, tmp_path / "run", execution=Execution(executor="ray", workers=1), progress=stop)
    assert not ray.is_initialized()
    assert list(tmp_path.glob("run/shards/*/shard.json"))
    assert not list(tmp_path.glob("run/shards/.*"))
    run_attack(options, tmp_path / "run")
    assert results(tmp_path / "run") == results(undisturbed)


def test_a_cluster_that_is_not_there_is_one_sentence(small_victim, run, tmp_path):
    options = ("--samples", 2, "--executor", "ray", "--address", "127.0.0.1:9", "--out", tmp_path / "run")
    status, out, err = run("attack", "--victim", small_victim, *options)
    assert (status, out) == (2, "")
    assert "the Ray cluster 127.0.0.1:9 is not reached" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        "Token authentication is enabled but no authentication token was found",
        "Token authentication is enabled but the authentication token is invalid or incorrect.",
    ],
)
def test_a_cluster_that_wants_another_token_is_one_sentence(monkeypatch, words):
    def refuse(*_, **__):
        raise ray.exceptions.RayError(words)

    monkeypatch.setattr(ray, "init", refuse)
    told = f"{words[:60]}.* where it asks for a token, set RAY_AUTH_MODE=token with its token in"
    with pytest.raises(SpikeflipError, match=told), connected("local"):
        pass


def test_without_ray_the_extra_is_named(small_victim, tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def without_ray(name, *given, **options):
        if name.partition(".")[0] == "ray":
            raise ImportError(name)
        return real(name, *given, **options)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(SpikeflipError, match=r"--executor ray needs Ray: pip install 'spikeflip\[ray\]'"):
        run_attack(config(small_victim, samples=1), tmp_path / "run", execution=Execution(executor="ray"))


def test_an_address_alone_is_refused(small_victim, run, tmp_path):
    status, _, err = run("attack", "--victim", small_victim, "--address", "auto", "--out", tmp_path / "run")
    assert status == 2
    assert "--address auto is that of a Ray cluster: add --executor ray" in err
