"""The splitter and the stitch layer on many architectures of timm, none known by name to KLAS."""

import pytest
import torch

from klas.networks.cost import anchor_cost, count_macs
from klas.networks.stitch import Stitch, StitchLayer
from tests.networks.nets import anchor, network, of_torchvision

# (model, side of the image, options, blocks)
ARCHITECTURES = [
    ("vit_tiny_patch16_224", 64, {"img_size": 64}, 12),
    ("vit_tiny_patch16_224", 64, {"img_size": 64, "class_token": False, "global_pool": "avg"}, 12),
    ("vit_small_patch14_reg4_dinov2", 56, {"img_size": 56, "depth": 3}, 3),
    ("deit_tiny_distilled_patch16_224", 64, {"img_size": 64}, 12),
    ("beit_base_patch16_224", 64, {"img_size": 64, "depth": 3, "embed_dim": 96, "num_heads": 3}, 3),
    ("eva02_tiny_patch14_224", 56, {"img_size": 56}, 12),
    ("visformer_tiny", 64, {"img_size": 64}, 15),
    ("xcit_nano_12_p16_224", 64, {"img_size": 64}, 12),
    ("cait_xxs24_224", 64, {"img_size": 64, "depth": 4}, 3),
    ("vit_tiny_patch16_dinov3_qkvb", 64, {"img_size": 64, "depth": 3}, 3),
    ("twins_svt_small", 64, {"img_size": 64}, 18),
    ("levit_128s", 224, {}, 9),
    ("swin_tiny_patch4_window7_224", 64, {"img_size": 64, "window_size": 2}, 12),
    ("swinv2_cr_tiny_ns_224", 64, {"img_size": 64, "window_size": 2}, 12),
    ("mixer_s32_224", 64, {"img_size": 64}, 8),
    ("gmlp_ti16_224", 64, {"img_size": 64}, 30),
    ("pvt_v2_b0", 64, {}, 8),
    ("mvitv2_tiny", 64, {"img_size": 64}, 10),
    ("davit_tiny", 64, {}, 6),
    ("maxvit_nano_rw_256", 64, {"img_size": 64}, 7),
    ("coatnet_nano_rw_224", 64, {"img_size": 64}, 16),
    ("tiny_vit_5m_224", 224, {}, 12),
    ("focalnet_tiny_srf", 64, {}, 12),
    ("poolformer_s12", 64, {}, 12),
    ("efficientformer_l1", 224, {}, 12),
    ("fastvit_t8", 64, {}, 10),
    ("edgenext_xx_small", 64, {}, 12),
    ("mobilevit_xxs", 64, {}, 10),
    ("efficientvit_b0", 64, {}, 10),
    ("repvit_m0_9", 64, {}, 20),
    ("resnet18", 64, {}, 8),
    ("resnet50", 64, {}, 16),
    ("resnetv2_50", 64, {}, 16),
    ("convnext_atto", 64, {}, 12),
    ("convnextv2_atto", 64, {}, 12),
    ("regnety_002", 64, {}, 13),
    ("efficientnet_b0", 64, {}, 16),
    ("mobilenetv2_050", 64, {}, 17),
    ("mobilenetv3_small_050", 64, {}, 12),
    ("ghostnet_050", 64, {}, 17),
    ("repvgg_a0", 64, {}, 21),
    ("vgg11_bn", 64, {}, 7),
    ("inception_v3", 128, {}, 12),
    ("densenet121", 64, {}, 4),
    ("cs3darknet_focus_s", 64, {}, 4),
    ("dla34", 64, {}, 7),
    ("hgnet_tiny", 64, {}, 5),
    ("rexnet_100", 64, {}, 17),
    ("tresnet_m", 64, {}, 21),
    # A list of modules that run side by side in a block.
    ("skresnet18", 64, {}, 8),
    ("skresnext50_32x4d", 64, {}, 16),
    # A stage ends in a layer of its own, behind its list of blocks.
    ("cspresnet50", 64, {}, 4),
    ("cspresnext50", 64, {}, 4),
    ("cspdarknet53", 64, {}, 5),
    # Blocks add to a list that they are given.
    ("dla60", 64, {}, 7),
    ("dla60x", 64, {}, 7),
    ("dla102x", 64, {}, 7),
    # Blocks that are attributes, or that return lists.
    ("legacy_xception", 96, {}, 13),
    ("selecsls42", 128, {}, 18),
    ("pit_ti_224", 224, {}, 12),
    ("coat_lite_tiny", 64, {"img_size": 64}, 8),
]


# (torchvision's model, side of the image, options, blocks)
OF_TORCHVISION = [
    ("vit_b_32", 64, {"image_size": 64}, 12),
    ("alexnet", 96, {}, 4),
    ("vgg11_bn", 64, {}, 7),
    ("inception_v3", 128, {"init_weights": False, "aux_logits": False}, 15),
    ("squeezenet1_1", 64, {}, 8),
    ("shufflenet_v2_x0_5", 64, {}, 16),
    ("resnet18", 64, {}, 8),
    ("swin_t", 64, {}, 15),
]


QUICK = {"vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "resnet18", "convnext_atto"}
QUICK |= {"skresnet18", "dla60"}


def cases(listed):
    """A test's parameters for every network of a list; most are slow."""
    return pytest.mark.parametrize(
        ("name", "side", "options", "blocks"),
        [
            pytest.param(*a, id=f"{a[0]}-{k}", marks=() if a[0] in QUICK else pytest.mark.slow)
            for k, a in enumerate(listed)
        ],
    )


@cases(ARCHITECTURES)
def test_cut_chained_counted_and_stitched(name, side, options, blocks):
    check(network(name, **options), side, blocks)


@cases(OF_TORCHVISION)
def test_networks_of_torchvision(name, side, options, blocks):
    check(of_torchvision(name, **options), side, blocks)


def check(model, side, blocks):
    """A network's cuts: the parts are the whole, the costs add up, and stitches train."""
    net = anchor(model, side)
    images = torch.randn(5, 3, side, side)
    assert net.info.depth == blocks

    # The parts are the network, at a batch size that was not used for cutting.
    with torch.inference_mode():
        for cut, activation in enumerate(net.walk(images)):
            layout = net.info.layouts[cut]
            shapes = {
                "NLC": (5, layout.positions, layout.channels),
                "NHWC": (5, *layout.grid, layout.channels),
                "NCHW": (5, layout.channels, *layout.grid),
            }
            assert activation.shape == shapes[layout.form]
        assert torch.equal(net(images), model(images))
    parts = {id(p) for p in net.parameters()}
    assert len(parts) == sum(1 for _ in model.parameters())

    cost = anchor_cost(net)
    macs = count_macs(model, torch.empty(1, 3, side, side, device="meta")).macs
    assert cost.total_macs == macs
    assert cost.total_params == sum(p.numel() for p in model.parameters())

    # From the middle of the network to every kind of boundary that it has.
    middle = blocks // 2
    kinds = {(lay.form, lay.prefix, lay.grid): j for j, lay in enumerate(net.info.layouts[:-1])}
    net.train()
    for j in kinds.values():
        layer = StitchLayer(net.info.layouts[middle], net.info.layouts[j])
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        stitch = Stitch(net, middle, net, j, layer)
        logits = stitch(images[:2])
        assert logits.shape == (2, 10)
        logits.square().sum().backward()
        assert layer.weight.grad is not None
        assert bool(torch.isfinite(layer.weight.grad).all())
        assert layer.weight.grad.abs().sum() > 0
