"""The infinite-width recursion of ReLU networks, written out by hand, pixel by pixel and in loops."""

import math

import numpy as np


def arc_cosine(k, q1, q2):
    """E relu(u) relu(v) and E 1(u > 0) 1(v > 0); Cho & Saul 2009."""
    if q1 == 0 or q2 == 0:
        return 0.0, 0.0
    theta = math.acos(max(-1.0, min(1.0, k / math.sqrt(q1 * q2))))
    value = math.sqrt(q1 * q2) * (math.sin(theta) + (math.pi - theta) * math.cos(theta)) / (2 * math.pi)
    return value, (math.pi - theta) / (2 * math.pi)


class Kernels:
    """Kernels between all pixels of all images: arrays (N, P, N, P), P pixels in an H x W frame."""

    def __init__(self, images, weight_std, bias_std):
        """images: (N, C, H, W)."""
        n, c, self.h, self.w = images.shape
        flat = images.reshape(n, c, -1).transpose(0, 2, 1)
        self.nngp = np.einsum("apc,bqc->apbq", flat, flat) / c
        self.ntk = np.zeros_like(self.nngp)
        self.weight, self.bias = weight_std**2, bias_std**2

    def relu(self):
        n, p = self.nngp.shape[:2]
        before, variance = self.nngp.copy(), np.einsum("apap->ap", self.nngp).copy()
        for a, i, b, j in np.ndindex(n, p, n, p):
            value, slope = arc_cosine(before[a, i, b, j], variance[a, i], variance[b, j])
            if (a, i) == (b, j):
                value, slope = variance[a, i] / 2, 0.5 if variance[a, i] else 0.0
            self.nngp[a, i, b, j] = value
            self.ntk[a, i, b, j] *= slope
        return self

    def layer(self):
        self.nngp = self.weight * self.nngp + self.bias
        self.ntk = self.nngp + self.weight * self.ntk
        return self

    def conv(self, kernel, *, stride=1, padding=0, dilation=1, circular=False):
        reach = dilation * (kernel - 1)
        h, w = ((size + 2 * padding - reach - 1) // stride + 1 for size in (self.h, self.w))

        def source(row, column, di, dj):
            i, j = row * stride + di * dilation - padding, column * stride + dj * dilation - padding
            if circular:
                i, j = i % self.h, j % self.w
            return i * self.w + j if 0 <= i < self.h and 0 <= j < self.w else None

        windows = [[source(r, c, di, dj) for di in range(kernel) for dj in range(kernel)] for r, c in np.ndindex(h, w)]
        for name in ("nngp", "ntk"):
            k = getattr(self, name)
            n = len(k)
            out = np.zeros((n, h * w, n, h * w))
            for (p, first), (q, second) in ((x, y) for x in enumerate(windows) for y in enumerate(windows)):
                for s, t in zip(first, second, strict=True):
                    if s is not None and t is not None:
                        out[:, p, :, q] += k[:, s, :, t] / kernel**2
            setattr(self, name, out)
        self.h, self.w = h, w
        return self.layer()

    def pool(self, size):
        """Non-overlapping means."""
        h, w = self.h // size, self.w // size
        mean = np.zeros((h * w, self.h * self.w))
        for r, c, i, j in np.ndindex(h, w, size, size):
            mean[r * w + c, (r * size + i) * self.w + c * size + j] = 1 / size**2
        self.nngp, self.ntk = (np.einsum("pi,aibj,qj->apbq", mean, k, mean) for k in (self.nngp, self.ntk))
        self.h, self.w = h, w
        return self

    def global_pool(self):
        self.nngp, self.ntk = (k.mean((1, 3))[:, None, :, None] for k in (self.nngp, self.ntk))
        return self

    def flatten(self):
        self.nngp, self.ntk = (np.einsum("apbp->ab", k)[:, None, :, None] / k.shape[1] for k in (self.nngp, self.ntk))
        return self

    def residual(self, branch, scale=1.0):
        before = self.nngp.copy(), self.ntk.copy()
        branch(self)
        self.nngp, self.ntk = before[0] + scale**2 * self.nngp, before[1] + scale**2 * self.ntk
        return self

    def result(self):
        return self.nngp[:, 0, :, 0], self.ntk[:, 0, :, 0]
