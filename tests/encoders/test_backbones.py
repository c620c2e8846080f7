"""Backbones: their structure against the published one, their defaults, and that each can be trained in every mode."""

import sys

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from monosemy.encoders.backbones import make_backbone
from monosemy.encoders.config import BackboneConfig
from monosemy.errors import InputError, MissingExtraError

CIFAR, GREY, IMAGENET = (3, 32, 32), (1, 28, 28), (3, 224, 224)
TINY = {
    "conv": {"width": 4},
    "resnet18": {"width": 4},
    "resnet50": {"width": 2},
    "vit": {"width": 16, "depth": 2},
    "convnext": {"width": 4, "depth": 1},
    "mixer": {"width": 16, "depth": 2},
}


def make(name: str, shape: tuple[int, int, int], **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return make_backbone(BackboneConfig(name=name, **settings), shape)


@pytest.mark.parametrize(
    ("name", "shape", "settings", "parameters", "outputs"),
    [
        ("resnet18", CIFAR, {}, 11_168_832, 512),  # the usual one with a 3x3 stem, without classifier
        ("resnet18", CIFAR, {"stem": "stride2"}, 11_168_832, 512),
        ("resnet18", IMAGENET, {}, 11_689_512 - 513_000, 512),  # torchvision's counts less 1000 classes
        ("resnet34", IMAGENET, {}, 21_797_672 - 513_000, 512),
        ("resnet50", IMAGENET, {}, 25_557_032 - 2_049_000, 2048),
        ("vit", IMAGENET, {"width": 768}, 86_567_656 - 769_000, 768),  # ViT-B/16
        ("vit", IMAGENET, {}, 22_050_664 - 385_000, 384),  # ViT-S/16
        ("convnext", IMAGENET, {}, 28_589_128 - 769_000, 768),  # ConvNeXt-T
        ("convnext", IMAGENET, {"width": 48, "depth": 2}, 4_832_784, 384),
    ],
)
def test_published_sizes(
    name: str, shape: tuple[int, int, int], settings: dict[str, object], parameters: int, outputs: int
) -> None:
    net = make(name, shape, **settings)
    assert (sum(p.numel() for p in net.parameters()), net.n_outputs) == (parameters, outputs)


def slow_resnet18(state: dict[str, Tensor], images: Tensor, stem: str) -> Tensor:
    """ResNet-18 in training mode, as the paper's figure 3 and the CIFAR stem of contrastive learning have it."""

    def conv(x: Tensor, name: str, stride: int) -> Tensor:
        weight, norm = state[f"{name}.convolution.weight"], f"{name}.normalization"
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return F.batch_norm(x, None, None, state[f"{norm}.weight"], state[f"{norm}.bias"], training=True)

    x = conv(images, "model.embedder.embedder", 1 if stem == "cifar" else 2).relu()
    if stem == "imagenet":
        x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage in range(4):
        for block in range(2):
            name = f"model.encoder.stages.{stage}.layers.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            y = conv(conv(x, f"{name}.layer.0", stride).relu(), f"{name}.layer.1", 1)
            x = (y + (conv(x, f"{name}.shortcut", stride) if stride == 2 else x)).relu()
    return x.mean(dim=(2, 3))


@pytest.mark.parametrize("stem", ["cifar", "stride2", "imagenet"])
def test_resnet18_is_the_usual_one(stem: str) -> None:
    net = make("resnet18", CIFAR, stem=stem, width=4).double()
    images = torch.randn(6, *CIFAR, dtype=torch.float64)
    out = net(images)
    copies = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    wanted = slow_resnet18(copies, images, stem)
    torch.testing.assert_close(out, wanted, rtol=1e-9, atol=1e-9)
    out.square().sum().backward()
    wanted.square().sum().backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, copies[name].grad, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize(("stem", "side"), [("cifar", 4), ("stride2", 2), ("imagenet", 1)])
def test_stems_leave_this_many_pixels_a_side(stem: str, side: int) -> None:
    net = make("resnet50", CIFAR, stem=stem, width=2)
    assert net.model(torch.rand(2, *CIFAR)).last_hidden_state.shape[-2:] == (side, side)


def test_every_convolution_of_a_resnet_starts_the_same_way() -> None:
    for stem in ("cifar", "imagenet"):
        for module in make("resnet18", CIFAR, stem=stem, width=32).modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.weight.numel() // module.weight.shape[1]
                assert float(module.weight.detach().std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


def test_vit_returns_its_class_token_after_the_last_norm() -> None:
    net = make("vit", CIFAR, width=16, depth=1)
    out = net(torch.rand(2, *CIFAR))
    torch.testing.assert_close(out.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(1, correction=0), torch.ones(2), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("name", "shape", "weight", "patch"),
    [
        ("resnet18", CIFAR, "model.embedder.embedder.convolution", 3),
        ("resnet18", (3, 64, 80), "model.embedder.embedder.convolution", 3),
        ("resnet18", IMAGENET, "model.embedder.embedder.convolution", 7),
        ("vit", CIFAR, "model.embeddings.patch_embeddings.projection", 4),
        ("vit", GREY, "model.embeddings.patch_embeddings.projection", 4),
        ("vit", (3, 96, 64), "model.embeddings.patch_embeddings.projection", 8),
        ("mixer", (1, 8, 16), "embedding", 1),
        ("mixer", IMAGENET, "embedding", 16),
        ("convnext", CIFAR, "model.embeddings.patch_embeddings", 2),
        ("convnext", (1, 8, 16), "model.embeddings.patch_embeddings", 1),
        ("convnext", IMAGENET, "model.embeddings.patch_embeddings", 4),
    ],
)
def test_what_is_left_open_follows_from_the_images(
    name: str, shape: tuple[int, int, int], weight: str, patch: int
) -> None:
    with torch.device("meta"):
        first = make(name, shape).get_submodule(weight)
    assert first.weight.shape[1:] == (shape[0], patch, patch)
    wanted = patch if name != "resnet18" else {32: 1, 64: 2, 224: 2}[shape[1]]
    assert first.stride == (wanted, wanted)


@pytest.mark.parametrize("name", list(TINY))
@pytest.mark.parametrize("shape", [CIFAR, (1, 8, 16)])
@pytest.mark.parametrize("autocast", [False, True])
def test_each_is_trained_in_every_mode(name: str, shape: tuple[int, int, int], autocast: bool) -> None:
    torch.compiler.reset()
    dtype = torch.float32 if autocast else torch.float64  # normalising four values magnifies rounding
    images = torch.rand(4, *shape, dtype=dtype)
    plain, last, compiled = (make(name, shape, **TINY[name]).to(dtype) for _ in range(3))
    last.to(memory_format=torch.channels_last)
    ways = [
        (plain, images),
        (last, images.contiguous(memory_format=torch.channels_last)),
        (torch.compile(compiled, backend="eager", fullgraph=True), images),  # one graph, whatever compiles it
    ]
    found = []
    for net, x in ways[: 2 if autocast else 3]:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = net(x)
        assert out.shape == (4, plain.n_outputs)
        out.float().square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        found.append(out.detach())
    if not autocast:
        for out in found[1:]:
            torch.testing.assert_close(out, found[0], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_compiled_code_does_the_same(name: str) -> None:
    torch.compiler.reset()
    images = torch.rand(4, 3, 16, 16)
    net, twin = make(name, (3, 16, 16), **TINY[name]), make(name, (3, 16, 16), **TINY[name])
    out, wanted = torch.compile(net)(images), twin(images)
    torch.testing.assert_close(out, wanted, rtol=1e-3, atol=1e-4)
    out.sum().backward()
    wanted.sum().backward()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", list(TINY))
def test_the_global_generator_decides_the_weights(name: str) -> None:
    first, second = make(name, CIFAR, **TINY[name]), make(name, CIFAR, **TINY[name])
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    other = make_backbone(BackboneConfig(name=name, **TINY[name]), CIFAR)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        ("vit", CIFAR, {"patch_size": 5}, "32x32 pixels cannot be cut into patches of patch_size 5; choose"),
        ("mixer", (3, 32, 30), {"patch_size": 4}, "32x30 pixels cannot be cut into patches of patch_size 4"),
        ("mixer", (3, 227, 227), {}, "No patch_size suits images of 227x227 pixels; resize"),
        ("vit", CIFAR, {"width": 200}, "width=200 of the ViT is not divisible by its 3 heads; choose a multiple of 64"),
        ("convnext", CIFAR, {"patch_size": 8}, "32x32 pixels are too small for ConvNeXt with patch_size 8"),
        ("convnext", (3, 6, 6), {}, "6x6 pixels are too small for ConvNeXt with patch_size 1"),
    ],
)
def test_settings_that_do_not_fit_the_images(
    name: str, shape: tuple[int, int, int], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make(name, shape, **settings)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "vit", "stem": "cifar"}, "stem='cifar' does not apply to the backbone vit; leave it out"),
        ({"name": "resnet18", "depth": 3}, "depth=3 does not apply to the backbone resnet18"),
        ({"name": "conv", "patch_size": 2}, "patch_size=2 does not apply to the backbone conv"),
        ({"name": "resnet101"}, "resnet18"),
        ({"width": 0}, "greater than or equal to 1"),
        ({"heads": 3}, "not permitted"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BackboneConfig(**settings)


def test_a_configuration_survives_its_own_values() -> None:
    for name, settings in TINY.items():
        config = BackboneConfig(name=name, **settings)
        assert BackboneConfig(**config.model_dump()) == config


@pytest.mark.parametrize("name", list(TINY))
def test_without_transformers_the_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    if name in ("conv", "mixer"):
        make(name, CIFAR, **TINY[name])
    else:
        with pytest.raises(
            MissingExtraError, match=r"pip install 'monosemy\[vision\]', or use the backbone conv or mixer"
        ):
            make(name, CIFAR, **TINY[name])
