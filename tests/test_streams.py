"""Random streams: the GPU's kernel against numpy, everywhere in Triton's interpreter, as in snn/test_fused.py."""

import pytest
import torch
from triton_interpreter import INTERPRETED, check_in_the_interpreter, needs_triton

from spikeflip import streams


@pytest.fixture
def device(monkeypatch):
    streams._kernel.cache_clear()
    if INTERPRETED:
        monkeypatch.setattr(streams, "_DEVICES", frozenset({"cpu"}))
        yield "cpu"
    elif torch.cuda.is_available():
        yield "cuda"
    else:
        pytest.skip("there is no GPU here; the same tests run in Triton's interpreter")
    streams._kernel.cache_clear()


def plain(seed, samples, purpose, steps, shape):
    """The numbers as numpy draws them, sample by sample."""
    drawn = [
        streams.stream(seed, sample, purpose, step).random(shape, dtype="float32")
        for sample, step in zip(samples.tolist(), steps.tolist(), strict=True)
    ]
    return torch.stack([torch.from_numpy(one) for one in drawn])


@pytest.mark.gpu
@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (8,), (9,), (1024,), (1025,), (3, 2, 341)])
def test_a_gpu_draws_the_numbers_of_the_cpu(device, seed, shape):
    samples, steps = torch.tensor([5, 0, 2**63 - 1]), torch.tensor([0, 1, 2**40])
    drawn = streams.uniform(seed, samples, "sample", steps, shape, device)
    assert streams._kernel.cache_info().misses == 1
    assert streams._kernel(torch.device(device)) is not None
    assert drawn.device.type == torch.device(device).type
    assert torch.equal(drawn.cpu(), plain(seed, samples, "sample", steps, shape))


@pytest.mark.gpu
def test_purposes_and_one_step_for_all(device):
    samples = torch.tensor([4, 9])
    for purpose in ("encode", "sample", "certify"):
        drawn = streams.uniform(3, samples, purpose, 7, (50,), device)
        assert torch.equal(drawn.cpu(), plain(3, samples, purpose, torch.tensor([7, 7]), (50,)))


@pytest.mark.gpu
@pytest.mark.parametrize(("samples", "shape"), [([], (5,)), ([1, 2], (0, 3))])
def test_no_numbers(device, samples, shape):
    drawn = streams.uniform(0, torch.tensor(samples, dtype=torch.int64), "flip", 0, shape, device)
    assert drawn.shape == (len(samples), *shape)


@pytest.mark.gpu
@pytest.mark.parametrize("part", [1 << 30, 16, 5])
def test_the_numbers_of_one_stream_go_on_where_they_stopped(device, part, monkeypatch):
    monkeypatch.setattr(streams, "_PART", part)
    numbers = streams.Numbers(2**63 + 5, 3, "dropout", 2**33, device)
    assert numbers._kernel is not None
    shapes = [(3,), (2, 8), (1,), (0, 4), (30,), (5, 1, 7)]
    drawn = [numbers.draw(shape) for shape in shapes]
    assert [tuple(one.shape) for one in drawn] == shapes
    expected = streams.stream(2**63 + 5, 3, "dropout", 2**33).random(85, dtype="float32")
    assert torch.equal(torch.cat([one.flatten() for one in drawn]).cpu(), torch.from_numpy(expected))


@pytest.mark.gpu
def test_a_kernel_that_draws_other_numbers_is_not_used(device, monkeypatch, caplog):
    drawn_on = streams._drawn_on
    monkeypatch.setattr(streams, "_drawn_on", lambda *call, **first: drawn_on(*call, **first) + 2**-24)
    samples = torch.tensor([1])
    assert torch.equal(
        streams.uniform(0, samples, "flip", 0, (9,), device).cpu(),
        plain(0, samples, "flip", torch.tensor([0]), (9,)),
    )
    (record,) = caplog.records
    assert record.getMessage().endswith("the Triton kernel does not work (its numbers are others)")


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
@pytest.mark.slow
def test_in_the_interpreter():
    check_in_the_interpreter(__file__)


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="the interpreter does not compile")
def test_the_kernel_compiles_for_a_gpu_that_is_not_there():
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from spikeflip import stream_kernel

    pointers = {"out": "*fp32", "seed": "*i64", "samples": "*i64", "steps": "*i64"}
    signature = pointers | {"purpose": "i32", "first": "i32", "numbers": "i32", "block": "constexpr"}
    source = ASTSource(stream_kernel.uniform, signature, {(7,): stream_kernel.BLOCK})
    assert "cubin" in compile(source, target=GPUTarget("cuda", 80, 32)).asm


@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="the interpreter does not compile")
def test_where_triton_cannot_compile_the_cpu_draws_and_it_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(streams, "_DEVICES", frozenset({"cpu"}))  # Triton has no compiler for it
    streams._kernel.cache_clear()
    samples = torch.tensor([8, 1])
    try:
        for _ in range(2):
            drawn = streams.uniform(0, samples, "encode", 2, (4, 5))
            assert torch.equal(drawn, plain(0, samples, "encode", torch.tensor([2, 2]), (4, 5)))
    finally:
        streams._kernel.cache_clear()
    (record,) = caplog.records
    assert record.getMessage().startswith("random numbers for cpu are drawn on the CPU: the Triton kernel does not")
