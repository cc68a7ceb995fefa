"""Pre-activations by events: only sources that are not zero are visited, each through its own targets."""

from evsim.jit import jit


@jit
def drive(a, channels, z, ptr, target, at, theta):
    """Add W @ z to the pre-activations a (n, G); returns the multiply-adds done.

    Source j reaches the units target[ptr[j]:ptr[j + 1]]; the weights of one edge e, one per fed channel, stand in theta
    from at[e] on.
    """
    done = 0
    width = channels.shape[0]
    for j in range(z.shape[0]):
        v = z[j]
        if v != 0:
            for e in range(ptr[j], ptr[j + 1]):
                i = target[e]
                p = at[e]
                for g in range(width):
                    a[i, channels[g]] += theta[p + g] * v
            done += width * (ptr[j + 1] - ptr[j])
    return done


@jit
def set_bias(a, bias_at, theta):
    """Start the pre-activations a (n, G) from the biases, which stand in theta from bias_at[i] on."""
    for i in range(a.shape[0]):
        for g in range(a.shape[1]):
            a[i, g] = theta[bias_at[i] + g]


@jit
def carry_over(b, last, first, n, y, phi, D):
    """Move what stream b's units first..first+n-1 showed at the last step of the previous call to slot 0."""
    for u in range(first, first + n):
        y[b, 0, u] = y[b, last, u]
        for k in range(phi.shape[3]):
            phi[b, 0, u, k] = phi[b, last, u, k]
        for q in range(D.shape[3]):
            D[b, 0, u, q] = D[b, last, u, q]
