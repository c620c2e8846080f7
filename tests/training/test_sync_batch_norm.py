"""Batch normalisation in two real processes against one with all rows."""

import copy

import pytest
import torch
from processes import in_processes
from torch import Tensor, nn

from monosemy.training.sync_batch_norm import CpuSyncBatchNorm, synchronise_batch_norm

SPLITS = {"equal": (4, 4), "uneven": (3, 5)}
KINDS = {
    "2d": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3)),
    "1d": lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.BatchNorm1d(4, momentum=None, eps=1e-3), nn.ReLU()),
    "plain": lambda: nn.BatchNorm2d(2, affine=False, track_running_stats=False),
}
CASES = [(kind, split) for kind in KINDS for split in SPLITS]
STEPS = 3


def network(kind: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(1)
    made = KINDS[kind]().to(dtype)
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0.3)
    return made


def batches(mean: float = 50.0) -> Tensor:
    """STEPS batches of 8 images whose mean is large beside their spread."""
    return mean + torch.randn(STEPS, 8, 2, 6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def train(module: nn.Module, images: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Outputs, gradients of the summed squared error, and the state, after some steps without an optimiser."""
    found = {}
    for step, batch in enumerate(images):
        x = batch.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        out = module(x)
        (out - wanted[step].view(-1, *[1] * (out.dim() - 1))).square().sum().backward()
        found |= {f"rows {step}": out.detach(), f"rows slope {step}": x.grad}
    found |= {f"grad {name}": p.grad for name, p in module.named_parameters()}
    return found | {f"state {name}": value for name, value in module.state_dict().items()}


def targets() -> Tensor:
    return torch.randn(STEPS, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def work() -> dict[str, dict[str, Tensor]]:
    found = {}
    rank = torch.distributed.get_rank()
    for kind, split in CASES:
        rows = slice(sum(SPLITS[split][:rank]), sum(SPLITS[split][: rank + 1]))
        module = synchronise_batch_norm(network(kind))
        found[f"{kind} {split}"] = train(module, batches()[:, rows], targets()[:, rows])
        found[f"{kind} {split}"]["eval"] = module.eval()(batches()[0]).detach()
    rows = slice(4 * rank, 4 * rank + 4)
    single = synchronise_batch_norm(network("2d", torch.float32))
    found["single"] = train(single, batches(2.0).float()[:, rows], targets().float()[:, rows])
    x = batches(2.0)[0, rows].float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = synchronise_batch_norm(network("2d", torch.float32))(x)
    out.float().sum().backward()
    found["autocast"] = {"rows": out.detach(), "slope": x.grad}
    return found


def check(first: dict[str, Tensor], second: dict[str, Tensor], whole: dict[str, Tensor], tolerance: float) -> None:
    """Rows stand below each other, gradients add up, the state is the same everywhere."""
    for name, value in whole.items():
        pair = first[name], second[name]
        if name.startswith("rows"):
            got = torch.cat(pair)
        elif name.startswith("grad"):
            got = pair[0] + pair[1]
        else:
            assert torch.equal(*pair), f"{name} differs between the processes"
            got = pair[0]
        torch.testing.assert_close(got, value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
    assert float(whole["rows slope 0"].abs().max()) > 0


def test_two_processes_equal_one() -> None:
    first, second = in_processes(work)
    for kind, split in CASES:
        module = network(kind)
        whole = train(module, batches(), targets()) | {"eval": module.eval()(batches()[0]).detach()}
        check(first[f"{kind} {split}"], second[f"{kind} {split}"], whole, 1e-9)
    whole = train(network("2d", torch.float32), batches(2.0).float(), targets().float())
    check(first["single"], second["single"], whole, 1e-2)  # large gradients of the two processes cancel
    with torch.autocast("cpu", torch.bfloat16):
        out = network("2d", torch.float32)(batches(2.0)[0].float())
    got = torch.cat([first["autocast"]["rows"], second["autocast"]["rows"]])
    assert got.dtype == out.dtype == torch.bfloat16
    torch.testing.assert_close(got, out.detach(), atol=0.05, rtol=0.02)
    assert all(mine["autocast"]["slope"].isfinite().all() for mine in (first, second))


@pytest.mark.parametrize("kind", list(KINDS))
def test_without_processes_nothing_changes(kind: str) -> None:
    module = network(kind)
    twin = synchronise_batch_norm(copy.deepcopy(module))
    kinds = [type(m) for m in twin.modules()]
    assert CpuSyncBatchNorm in kinds
    assert not {nn.BatchNorm1d, nn.BatchNorm2d} & set(kinds)
    wanted, got = train(module, batches(), targets()), train(twin, batches(), targets())
    assert wanted.keys() == got.keys()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


def test_parameters_stay_the_same_objects_and_the_mode_too() -> None:
    module = network("2d").eval()
    before = list(module.parameters())
    twin = synchronise_batch_norm(module)
    assert twin is module
    assert all(a is b for a, b in zip(before, twin.parameters(), strict=True))
    assert not any(m.training for m in twin.modules())


def test_input_without_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        CpuSyncBatchNorm(3)(torch.ones(3))
