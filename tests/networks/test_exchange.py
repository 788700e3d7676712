"""What ranks exchange, with threads as ranks: each a part of the batch, together as one."""

import copy
import threading

import pytest
import torch
from torch import nn

from ltcl_helpers import pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.networks import exchange
from ltcl_helpers.networks.batchnorm import SplitBatchNorm2d, split_batch_norms
from ltcl_helpers.networks.exchange import ONE, RankBatchNorm2d, Ranks
from ltcl_helpers.networks.resnet import Encoder


class Exchange:
    """What `exchange` asks of torch.distributed, between threads of this process."""

    def __init__(self, count):
        self.meeting = threading.Barrier(count, timeout=60)
        self.held = [None] * count
        self.own = threading.local()

    def everyones(self, mine):
        """What all ranks have brought, in their order."""
        self.held[self.own.number] = copy.deepcopy(mine)
        self.meeting.wait()
        all_of_it = list(self.held)
        self.meeting.wait()
        return all_of_it

    def all_reduce(self, tensor):
        tensor.copy_(sum(self.everyones(tensor.detach())))

    def all_gather(self, parts, tensor):
        for part, given in zip(parts, self.everyones(tensor.detach()), strict=True):
            part.copy_(given)

    def broadcast_object_list(self, objects, src):
        objects[:] = self.everyones(objects)[src]


@pytest.fixture
def together(monkeypatch):
    """Call a function of `Ranks` on so many ranks; what each gave."""

    def call(count, function):
        dist = Exchange(count)
        monkeypatch.setattr(exchange, "dist", dist)
        found = [None] * count

        def rank(number):
            dist.own.number = number
            try:
                found[number] = function(Ranks(count, number))
            except BaseException as error:
                dist.meeting.abort()
                found[number] = error

        threads = [threading.Thread(target=rank, args=[number]) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        errors = [each for each in found if isinstance(each, BaseException)]
        if errors:
            raise errors[0]
        return found

    return call


def drawn(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def test_one_rank_exchanges_nothing():
    x, layer = drawn(4, 2), nn.Linear(2, 2)
    assert (ONE.count, ONE.number, ONE.is_first) == (1, 0, True)
    assert not Ranks(3, 1).is_first
    assert ONE.own(x) is x and ONE.gather(x) is x and ONE.total == 4
    assert ONE.agree(True) is True and ONE.agree(False) is False
    for nothing in (ONE.join, ONE.average_statistics):
        assert nothing(layer) is None
    ONE.sum_gradients(layer.parameters())


@pytest.mark.parametrize(("count", "total"), [(2, 4), (2, 5), (3, 7), (4, 4)])
def test_rows_are_gathered_again_and_each_gets_the_gradient_of_all(together, count, total):
    whole = drawn(total, 3)

    def rank(ranks):
        part = ranks.own(whole).clone().requires_grad_()
        assert ranks.total == total
        gathered = ranks.gather(part)
        assert torch.equal(gathered, whole)
        weights = drawn(total, 3, seed=ranks.number + 1)
        (gathered * weights).sum().backward()
        return part.grad

    wanted = sum(drawn(total, 3, seed=number + 1) for number in range(count))
    torch.testing.assert_close(torch.cat(together(count, rank)), wanted)


def test_gradients_are_summed_in_place_where_there_are_some(together):
    def rank(ranks):
        weights = [
            nn.Parameter(torch.zeros(2, 3)),
            nn.Parameter(torch.zeros(4)),
            nn.Parameter(torch.zeros(1)),
        ]
        weights[0].grad = torch.full((2, 3), 1.0 + ranks.number)
        weights[1].grad = torch.arange(4.0) * (1 + ranks.number)
        before = weights[0].grad
        ranks.sum_gradients(weights)
        assert weights[0].grad is before and weights[2].grad is None
        return [before.tolist(), weights[1].grad.tolist()]

    assert together(3, rank) == [[[[6.0] * 3] * 2, [0, 6, 12, 18]]] * 3


def test_the_first_rank_decides(together):
    assert together(3, lambda ranks: ranks.agree(ranks.number == 0)) == [True] * 3
    assert together(3, lambda ranks: ranks.agree(ranks.number == 1)) == [False] * 3


@pytest.mark.parametrize("momentum", [0.3, None])
def test_a_batch_norm_over_ranks_is_that_of_the_whole_batch(together, momentum):
    """Output, gradients and running statistics, of parts of different sizes."""
    x, weights = drawn(5, 2, 3, 4), drawn(5, 2, 3, 4, seed=1)
    plain = nn.BatchNorm2d(2, eps=0.01, momentum=momentum or 0.0).double()
    plain.weight.data, plain.bias.data = drawn(2, seed=2), drawn(2, seed=3)
    alone = copy.deepcopy(plain)
    given = x.clone().requires_grad_()
    expected = alone(given)
    (expected * weights).sum().backward()

    def rank(ranks):
        norm = RankBatchNorm2d(2, 0.01, momentum).double()
        norm.load_state_dict(plain.state_dict())
        own = ranks.own(x).clone().requires_grad_()
        found = norm(own)
        (found * ranks.own(weights)).sum().backward()
        ranks.sum_gradients(norm.parameters())
        assert norm.num_batches_tracked == 1
        torch.testing.assert_close(norm.running_mean, alone.running_mean)
        torch.testing.assert_close(norm.running_var, alone.running_var)
        torch.testing.assert_close(norm.weight.grad, alone.weight.grad)
        torch.testing.assert_close(norm.bias.grad, alone.bias.grad)
        torch.testing.assert_close(norm.eval()(own), alone.eval()(own))
        alone.train()
        return found, own.grad

    found, gradients = zip(*together(2, rank), strict=True)
    torch.testing.assert_close(torch.cat(found), expected)
    torch.testing.assert_close(torch.cat(gradients), given.grad)


def test_a_batch_norm_over_ranks_computes_in_its_weights_precision(together):
    x = drawn(4, 2, 3, 3).to(torch.bfloat16)
    expected = nn.BatchNorm2d(2)(x.float()).to(torch.bfloat16)

    def rank(ranks):
        return RankBatchNorm2d(2)(ranks.own(x))

    found = torch.cat(together(2, rank))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)


class Small(Encoder):
    """One convolution with a batch norm; two views of a batch are its input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4, eps=0.02, momentum=0.2)

    def forward(self, images):
        return self.norm(self.conv(images)).mean((2, 3))


def test_an_encoder_that_has_joined_gives_features_of_all_rows_view_after_view(together):
    network = nn.ModuleDict({"encoder": Small(), "head": nn.BatchNorm2d(2)}).double()
    views = [drawn(5, 3, 6, 6, seed=seed) for seed in (4, 5)]
    alone = copy.deepcopy(network["encoder"])
    expected = alone(torch.cat(views))

    def rank(ranks):
        mine = copy.deepcopy(network)
        encoder, weight = mine["encoder"], mine["encoder"].norm.weight
        ranks.join(mine)
        assert isinstance(encoder.norm, RankBatchNorm2d) and encoder.norm.weight is weight
        assert type(mine["head"]) is nn.BatchNorm2d
        found = encoder(torch.cat([ranks.own(view) for view in views]))
        assert encoder.state_dict().keys() == alone.state_dict().keys()
        torch.testing.assert_close(encoder.norm.running_var, alone.norm.running_var)
        encoder.eval()
        assert encoder(ranks.own(views[0])).shape == (len(ranks.own(views[0])), 4)
        encoder.train()
        ranks.leave()
        one = ranks.own(views[0])
        assert encoder(one).shape == (len(one), 4)
        return found

    for found in together(2, rank):
        torch.testing.assert_close(found, expected)


def test_features_are_gathered_in_float32_at_least(together):
    class Half(Small):
        def forward(self, images):
            return super().forward(images).to(torch.bfloat16)

    network = nn.ModuleList([Half()])

    def rank(ranks):
        mine = copy.deepcopy(network)
        ranks.join(mine)
        ranks.own(torch.zeros(4))
        return mine[0](torch.rand(2, 3, 6, 6)).dtype

    assert together(2, rank) == [torch.float32] * 2


def test_groups_of_a_batch_norm_are_shared_out_and_their_statistics_averaged(together):
    x = drawn(8, 3, 6, 6)
    network = nn.ModuleList([split_batch_norms(Small(), 4)]).double()
    alone = copy.deepcopy(network)
    expected = alone[0](x)

    def rank(ranks):
        mine = copy.deepcopy(network)
        ranks.join(mine)
        assert isinstance(mine[0].norm, SplitBatchNorm2d) and mine[0].norm.groups == 2
        found = mine[0](ranks.own(x))
        ranks.average_statistics(mine)
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(getattr(mine[0].norm, name), getattr(alone[0].norm, name))
        return found

    for found in together(2, rank):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("train", [True, False])
def test_a_network_that_has_joined_stays_in_its_mode(together, train):
    def rank(ranks):
        method = pretrain.make_method(RunConfig(preset="tiny")).train(train)
        ranks.join(method)
        return {module.training for module in method.modules()}

    assert together(2, rank) == [{train}] * 2


# --- batch norms in groups ------------------------------------------------------------------------


def test_a_batch_norm_in_groups_keeps_all_that_its_original_had():
    plain = nn.Sequential(nn.Sequential(nn.BatchNorm2d(2, eps=0.5, momentum=0.4))).double()
    plain[0][0].running_mean.fill_(3)
    plain.eval()
    split = split_batch_norms(copy.deepcopy(plain), 2)
    norm = split[0][0]
    assert (norm.groups, norm.eps, norm.momentum, norm.training) == (2, 0.5, 0.4, False)
    assert norm.weight.dtype == torch.float64 and norm.running_mean.tolist() == [3, 3]
    x = drawn(5, 2, 2, 2)
    blocks = [copy.deepcopy(plain).train() for _ in range(2)]
    expected = torch.cat([blocks[0](x[:3]), blocks[1](x[3:])])  # the larger group first
    torch.testing.assert_close(split.train()(x), expected)
    mean = sum(block[0][0].running_var for block in blocks) / 2
    torch.testing.assert_close(norm.running_var, mean)
    assert norm.num_batches_tracked == 1
