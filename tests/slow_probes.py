"""Linear probes and accuracies by group in plain NumPy, float64, part of `slow_reference`."""

import numpy as np
import torch
from scipy.optimize import minimize


def adam_probe(x, y, test, classes, seed=0):
    """The published probe: Adam over 500 epochs in batches of 1000; logits of the test part."""
    draw, bound = torch.Generator().manual_seed(seed), x.shape[1] ** -0.5
    shapes = (classes, x.shape[1]), (classes,)
    start = [
        torch.empty(s).uniform_(-bound, bound, generator=draw).double().numpy() for s in shapes
    ]
    theta, first, second = np.column_stack(start), 0.0, 0.0
    x, test = (np.column_stack([part, np.ones(len(part))]) for part in (x, test))
    step = 0
    for epoch in range(500):
        lr = 1e-2 * (1e-6 / 1e-2) ** (epoch / 500)
        order = torch.randperm(len(x), generator=draw).numpy()
        for index in (order[k : k + 1000] for k in range(0, len(x), 1000)):
            step += 1
            logits = x[index] @ theta.T
            chance = np.exp(logits - logits.max(1, keepdims=True))
            chance /= chance.sum(1, keepdims=True)
            chance[np.arange(len(index)), y[index]] -= 1
            gradient = chance.T @ x[index] / len(index) + 5e-6 * theta
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            root = np.sqrt(second / (1 - 0.999**step)) + 1e-8
            theta = theta - lr * first / (1 - 0.9**step) / root
    return test @ theta.T


def logistic_probe(x, y, test, classes):
    """Standardised features, multinomial logistic regression with C = 0.1, bias not penalised."""
    mean, std = x.mean(0), x.std(0)
    std = np.where(std == 0, 1, std)
    x, test = (np.column_stack([(part - mean) / std, np.ones(len(part))]) for part in (x, test))

    def objective(flat):
        theta = flat.reshape(classes, -1)
        logits = x @ theta.T
        top = logits.max(1, keepdims=True)
        chance = np.exp(logits - top)
        total = np.log(chance.sum(1)) + top[:, 0] - logits[np.arange(len(x)), y]
        chance /= chance.sum(1, keepdims=True)
        chance[np.arange(len(x)), y] -= 1
        penalty = theta.copy()
        penalty[:, -1] = 0
        value = total.sum() * 0.1 + (penalty**2).sum() / 2
        return value, (0.1 * chance.T @ x + penalty).ravel()

    found = minimize(objective, np.zeros(classes * x.shape[1]), jac=True, tol=1e-10)
    return test @ found.x.reshape(classes, -1).T


def accuracies(logits, labels, group_counts):
    """By group, as fractions: thirds of the classes by count, std of the three, all, top 5."""
    ranked = np.argsort(-logits, axis=1)
    classes = len(group_counts)
    per_class = np.array(
        [np.mean([ranked[i, 0] == c for i in np.flatnonzero(labels == c)]) for c in range(classes)]
    )
    ascending, third = np.argsort(group_counts, kind="stable"), classes // 3
    found = {
        "few": per_class[ascending[:third]].mean(),
        "medium": per_class[ascending[third : 2 * third]].mean(),
        "many": per_class[ascending[2 * third :]].mean(),
    }
    found["std"] = np.std([found["many"], found["medium"], found["few"]])
    found["all"] = per_class.mean()
    found["top5"] = np.mean([label in row[:5] for row, label in zip(ranked, labels, strict=True)])
    return found
