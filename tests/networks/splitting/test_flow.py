import torch

from tests.networks.nets import Plain, anchor


def test_integers_that_cross_a_cut_scale_with_the_batch():
    model = Plain().eval()
    net = anchor(model, 32)
    for batch in (1, 2, 7):
        images = torch.randn(batch, 3, 32, 32)
        assert torch.equal(net(images), model(images))


def test_a_block_that_works_in_place_leaves_the_activation_before_it_alone():
    net = anchor(Plain().eval(), 32)
    activations = net.cut_activations(torch.randn(2, 3, 32, 32))
    assert activations[0].min() < 0  # the first block's ReLU would have made it 0
