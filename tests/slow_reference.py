"""A whole run in small slow steps, written after the papers and their published code.

It imports nothing of the package. Loops, float64, one image at a time; the only thing it has in
common with the package are random numbers, by the documented rule: a generator's state is a
function of (seed, purpose, epoch), the purposes are order, views, boost and pruning.
"""

import hashlib
import math

import numpy as np
import torch
from slow_views import make_views, steering
from torch.nn import functional as F

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def generator(seed, purpose, epoch):
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


# ---- which images ---------------------------------------------------------------------------


def shuffled_class(labels, c, seed):
    return np.random.default_rng([seed, 1, c]).permutation(np.flatnonzero(labels == c))


def draw_long_tail(labels, largest, imbalance, seed, mirrored):
    """Position list and class counts of a drawn long-tail split."""
    classes = labels.max() + 1
    ranked = list(np.random.default_rng([seed, 0]).permutation(classes))
    if mirrored:
        ranked.reverse()
    index, counts = [], []
    for c in range(classes):
        rank = ranked.index(c)
        counts.append(math.floor(largest / imbalance ** (rank / (classes - 1))))
        index += list(shuffled_class(labels, c, seed)[: counts[-1]])
    return np.array(index), np.array(counts)


def first_of_each(labels, per_class, seed):
    classes = range(labels.max() + 1)
    return np.concatenate([shuffled_class(labels, c, seed)[:per_class] for c in classes])


# ---- network, loss, step ----------------------------------------------------------------------


def convolutions(config):
    """Name, inputs, outputs, kernel, stride, as a torchvision ResNet makes them."""
    width = inputs = config["width"]
    found = [("conv1", 3, width, 3, config["stem_stride"])]
    for stage, count in enumerate(config["blocks"]):
        outputs = width * 2**stage
        for block in range(count):
            name, stride = f"layer{stage + 1}.{block}.", 2 if stage and not block else 1
            found.append((name + "conv1", inputs, outputs, 3, stride))
            found.append((name + "conv2", outputs, outputs, 3, 1))
            if stride == 2 or inputs != outputs:
                found.append((name + "downsample.0", inputs, outputs, 1, stride))
            inputs = outputs
    return found


class Network:
    """ResNet and projection head; with two sets of batch norms, dense and pruned, for SDCLR."""

    def __init__(self, config):
        self.strides = {name: stride for name, *_, stride in convolutions(config)}
        self.branches = ["dense", "pruned"] if config["pruned_twin"] else [""]
        self.weights, self.running = {}, {}
        with torch.random.fork_rng():
            torch.manual_seed(config["seed"])
            for name, i, o, kernel, _ in convolutions(config):
                self.weights[name] = torch.nn.Conv2d(i, o, kernel, bias=False).weight.data
            for weight in self.weights.values():
                torch.nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
            self.layers, dim = config["head_layers"], o
            for layer in range(1, self.layers + 1):
                last = layer == self.layers
                linear = torch.nn.Linear(dim, 128 if last else dim, bias=layer == 1)
                self.weights[f"fc{layer}"] = linear.weight.data
                if layer == 1:
                    self.weights["fc1.bias"] = linear.bias.data
        self.prunable = list(self.strides)
        for name, weight in list(self.weights.items()):
            if not name.endswith("bias"):
                for branch in self.branches:
                    norm = self.norm_of(name, branch)
                    self.weights[norm + ".weight"] = torch.ones(len(weight))
                    self.weights[norm + ".bias"] = torch.zeros(len(weight))
                    self.running[norm] = [torch.zeros(len(weight)), torch.ones(len(weight))]
        self.weights = {n: w.double().requires_grad_() for n, w in self.weights.items()}
        self.running = {n: [m.double(), v.double()] for n, (m, v) in self.running.items()}

    @staticmethod
    def norm_of(name, branch):
        norm = name.replace("conv", "bn").replace("downsample.0", "downsample.1")
        return norm.replace("fc", "head.bn") + ("." + branch if branch else "")

    def normalise(self, x, layer, branch, training):
        name, axes = self.norm_of(layer, branch), [0, 2, 3][: x.ndim - 1]
        shape = [1, -1, 1, 1][: x.ndim]
        mean, variance = self.running[name]
        if training:
            mean, variance = x.mean(axes), x.var(axes, unbiased=False)
            count = x.numel() / x.shape[1]
            now = mean.detach(), variance.detach() * count / (count - 1)
            for old, new in zip(self.running[name], now, strict=True):
                old.copy_(0.9 * old + 0.1 * new)
        x = (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
        weight, bias = (self.weights[f"{name}.{part}"].view(shape) for part in ("weight", "bias"))
        return x * weight + bias

    def features(self, images, branch="", masks=None, training=False):
        branch = branch or self.branches[0]

        def layer(x, name):
            weight = self.weights[name]
            weight = weight * masks[name] if masks else weight
            x = F.conv2d(x, weight, None, self.strides[name], weight.shape[2] // 2)
            return self.normalise(x, name, branch, training)

        mean, std = (torch.tensor(m, dtype=torch.float64).view(3, 1, 1) for m in (MEAN, STD))
        x = layer((images - mean) / std, "conv1").relu()
        for name in [n for n in self.strides if n.endswith(".conv1")]:
            block = name.removesuffix("conv1")
            y = layer(layer(x, name).relu(), block + "conv2")
            shortcut = block + "downsample.0"
            x = (y + (layer(x, shortcut) if shortcut in self.strides else x)).relu()
        return x.mean((2, 3))

    def project(self, images, branch="", masks=None):
        x = self.features(images, branch, masks, training=True)
        for k in range(1, self.layers + 1):
            x = x @ self.weights[f"fc{k}"].T + (self.weights["fc1.bias"] if k == 1 else 0)
            x = self.normalise(x, f"fc{k}", branch or self.branches[0], True)
            x = x.relu() if k < self.layers else x
        return x

    def masks(self, fraction, random_fraction=0.0, draw=None):
        """The largest weights of all convolutions together stay, less some drawn by chance."""
        flat = torch.cat([self.weights[n].detach().abs().flatten() for n in self.prunable])
        total = len(flat)
        by_size = math.ceil((fraction - random_fraction) * total)
        keep = flat >= flat.sort().values[min(by_size, total - 1)]
        if random_fraction:
            share = math.ceil(random_fraction * total) / (total - by_size)
            keep &= torch.rand(total, generator=draw) >= share
        parts = keep.split([self.weights[n].numel() for n in self.prunable])
        return {
            n: part.view_as(self.weights[n]) for n, part in zip(self.prunable, parts, strict=True)
        }


def contrast(first, second, temperature):
    """NT-Xent anchor by anchor: [B], the mean of a sample's two directions."""
    count, z = len(first), torch.cat([first, second])
    z = z / z.norm(dim=1, keepdim=True)
    losses = []
    for i in range(2 * count):
        similarity = z @ z[i] / temperature
        others = similarity[[j for j in range(2 * count) if j != i]]
        losses.append(others.exp().sum().log() - similarity[(i + count) % (2 * count)])
    return torch.stack([(losses[i] + losses[i + count]) / 2 for i in range(count)])


def cut(order, config):
    """An epoch's batches: full ones and a small last one, or near-equal ones."""
    count = math.ceil(len(order) / config["batch_size"])
    if config["equal_batches"]:
        return np.array_split(order, count)
    return [order[k * config["batch_size"] :][: config["batch_size"]] for k in range(count)]


def learning_rate(update, per_epoch, config):
    """Of update 1, 2, ...: a linear rise over the warm-up, then a cosine that ends at 1e-6."""
    peak, total = config["lr"], per_epoch * config["epochs"]
    rise = round(per_epoch * config["warmup_epochs"])
    if update < rise:
        return peak * update / rise
    done = (update - rise) / (total - rise)
    return 1e-6 + (peak - 1e-6) * (1 + math.cos(math.pi * done)) / 2


def train(config, images, check):
    """A run in lock-step with the package's; returns the network.

    Args:
        config: every parameter that plays a part, none by default.
        images: uint8 [N, 3, H, W].
        check: called as check(what, mine), compares and returns what to go on with: the package's
            own value, so that rounding is not carried on, and amplified, from step to step.
    """
    network, seed, samples = Network(config), config["seed"], len(images)
    speed, update, past, scores = {}, 0, [None] * samples, np.zeros(samples)
    for epoch in range(1, config["epochs"] + 1):
        draws = [generator(seed, purpose, epoch) for purpose in ("views", "boost")]
        masks = None
        if config["pruned_twin"]:
            chance = generator(seed, "pruning", epoch)
            masks = network.masks(config["prune_fraction"], config["prune_random"], chance)
        steer = steering(scores, config["boost"], draws[1])
        order = torch.randperm(samples, generator=generator(seed, "order", epoch)).numpy()
        batches, losses = cut(order, config), []
        for index in batches:
            update += 1
            check("index", index)
            check("masks", masks)
            views = check("views", make_views(images[index], steer[index], config, *draws))
            loss = loss_of(network, views, masks, config["temperature"])
            check("loss", loss.detach().numpy())
            for i, new in zip(index, loss.tolist(), strict=True):
                beta, old = config["momentum_beta"], past[i]
                past[i] = new if old is None else beta * old + (1 - beta) * new
            losses += loss.tolist()
            lr = check("lr", learning_rate(update, len(batches), config))
            gradients = torch.autograd.grad(loss.mean(), list(network.weights.values()))
            for (name, w), gradient in zip(network.weights.items(), gradients, strict=True):
                gradient = gradient + config["weight_decay"] * w.detach()
                speed[name] = 0.9 * speed[name] + gradient if name in speed else gradient
                w.data -= lr * speed[name]
            for name, given in check("weights", network.weights).items():
                network.weights[name].data.copy_(given)
        past = list(check("momentum", np.array(past)))
        offset = np.array(past) - np.mean(past)
        scores = check("scores", (offset / np.abs(offset).max() + 1) / 2)
        check("history", dict(epoch=epoch, loss=np.mean(losses), lr=lr))
    return network


def loss_of(network, views, masks, temperature):
    """One loss per sample: both views in one batch, or view 2 through the pruned twin."""
    first, second = (torch.from_numpy(view).double() for view in views)
    if masks:
        pair = network.project(first, "dense"), network.project(second, "pruned", masks)
    else:
        pair = network.project(torch.cat([first, second])).chunk(2)
    return contrast(*pair, temperature)
