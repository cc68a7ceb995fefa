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
def listen(
    b, t, first, x, x_first, in_ptr, in_target, in_at, rec_ptr, rec_target, rec_at, bias_at, in_channels, rec_channels,
    theta, y, a,
):  # fmt: skip
    """Pre-activations a (n, G) of one layer at slot t: biases, inputs and recurrence; returns the multiply-adds done.

    Arguments as in `evsim.forward`; the biases of unit i stand in theta from bias_at[i] on, one per channel.
    """
    n, channels = a.shape
    for i in range(n):
        for g in range(channels):
            a[i, g] = theta[bias_at[i] + g]
    heard = x[b, t, x_first : x_first + in_ptr.shape[0] - 1]
    done = drive(a, in_channels, heard, in_ptr, in_target, in_at, theta)
    return done + drive(a, rec_channels, y[b, t - 1, first : first + n], rec_ptr, rec_target, rec_at, theta)


@jit
def carry_over(lo, hi, last, y, phi, D):
    """Move what the units of streams lo..hi-1 showed in slot `last` to slot 0."""
    for b in range(lo, hi):
        for u in range(y.shape[2]):
            y[b, 0, u] = y[b, last, u]
            for k in range(phi.shape[3]):
                phi[b, 0, u, k] = phi[b, last, u, k]
            for q in range(D.shape[3]):
                D[b, 0, u, q] = D[b, last, u, q]
