"""Online learning under torch: a network trained by any evsim learner, as a module whose gradient the learner finds."""

import torch
from torch.autograd.function import once_differentiable

from evsim.check import check_choice
from evsim.learner import Learner
from evsim.learners.bptt import BPTT, TBPTT
from evsim.learners.rtrl import RTRL
from evsim.tape import Tape


class OnlineModule(torch.nn.Module):
    """An evsim learner and its network as a torch module: torch's losses, layers above, optimisers and schedulers.

    learner: RTRL, BPTT, TBPTT, SnAp, EProp, RFLO or UORO, on a Network; while the module is in use, only it may run and
    reset the learner. `parameter` is the network's trained parameters themselves, in the order of `net.trained` (no
    copy: float32 or float64, on the CPU); an optimiser changes them in place, and the next call heeds it, bringing
    thresholds and decays back into range. Its `.grad` is what the learner finds of any loss on the outputs, to which
    torch adds up, and which it zeroes, as of any parameter. `fixed` is a buffer of the parameters that are not trained.

    module(x): one time step x (n_in,) -> out (n_out,), or a sequence (T, n_in) -> (T, n_out), from the current state;
    with streams > 1, a leading stream axis on all. Under RTRL(block=1) and other learners that keep no steps a loss
    must come back before the next call; a sequence of them is taken twice, once more from a copy of the learner's
    state when its loss is known. BPTT, TBPTT and RTRL in blocks take losses on all steps since the last reset, window
    or block; each backward sweeps through these, so one for several steps is cheaper than one for each. Under no_grad
    a step counts as well, only that no loss may be on it.

    input_gradient: "exact": an input that requires a gradient is refused unless the learner is BPTT, for what it will
    matter to lies in the future, which online learners never go back from. "block": RTRL and TBPTT give that part of
    the gradient which runs through steps of the open block alone, for block=1 through the step itself: a truncated
    gradient. That of RTRL's parameters is whole in any case. With layers below, their graph is gone after a backward,
    as always in torch: take one loss for each block.

    TypeError for what is no learner; ValueError for an unknown input_gradient, and for a learner that cannot give it.
    """

    def __init__(self, learner, input_gradient="exact"):
        super().__init__()
        if not isinstance(learner, Learner):
            raise TypeError(f"learner is {learner!r}: pass one such as evsim.RTRL(net)")
        check_choice("input_gradient", input_gradient, ("exact", "block"))
        if learner.quiet is not None:
            told = "the learner has prices of its own (quiet), which a loss of torch's does not see"
            raise ValueError(f"{told}: make it without them, and add to the loss what events are to cost")
        if input_gradient == "block" and not isinstance(learner, RTRL | BPTT):
            raise ValueError(
                f'input_gradient="block" needs a backward sweep, but {type(learner).__name__} has none: take RTRL, '
                'BPTT or TBPTT, or leave it at "exact"'
            )
        whole = isinstance(learner, BPTT) and not isinstance(learner, TBPTT)
        self.learner, self.input_gradient = learner, input_gradient
        self._to_inputs = whole or input_gradient == "block"
        self._tape = Tape(learner)
        self._links = None, None, None  # the open block; what stands in the graph for it, and for its last state
        net = learner.net
        self._layout = net.layout  # for which the parameter stands
        self.parameter = torch.nn.Parameter(torch.from_numpy(net.trained))
        self.register_buffer("fixed", torch.from_numpy(net.theta[len(net.trained) :]))

    def forward(self, x):
        """x (n_in,) -> out (n_out,), or x (T, n_in) -> out (T, n_out); with streams > 1 after the stream axis.

        ValueError for a wrong shape, NaN or infinity in x or in the parameters, an input gradient that the learner does
        not give, and a module that was converted; TypeError for complex numbers or another device. backward raises
        ValueError where the steps of a loss are gone, or their weights.
        """
        learner = self.learner
        self._tie()
        lead = () if learner.streams == 1 else (learner.streams,)
        x = torch.as_tensor(x)
        step = x.ndim == len(lead) + 1
        if x.shape[: len(lead)] != lead or x.ndim - len(lead) not in (1, 2) or x.shape[-1] != learner.net.n_in:
            first = "" if not lead else f"{lead[0]}, "
            raise ValueError(
                f"x has shape {tuple(x.shape)}, but ({first}{learner.net.n_in}) is needed for a step, or "
                f"({first}T, {learner.net.n_in}) for a sequence: reshape it, or reset(streams=...)"
            )
        if not x.numel() and not step:
            raise ValueError(f"x has shape {tuple(x.shape)}, no steps: pass at least one")
        if x.is_complex() or x.device.type != "cpu":
            raise TypeError(f"x is {x.dtype} on {x.device}: pass real numbers on the CPU")
        graded = torch.is_grad_enabled()
        x = (x.unsqueeze(-2) if step else x).to(self.parameter.dtype)
        if x.requires_grad and graded and not self._to_inputs:
            raise ValueError(
                f"x requires a gradient, which {type(learner).__name__} cannot know, for it depends on the future: "
                'pass x.detach(), take BPTT, or ask for a part of it by OnlineModule(learner, input_gradient="block")'
            )
        out = self._take(x, graded)
        return out.squeeze(-2) if step else out

    def _take(self, x, graded):
        """forward for sequences. What a step did to the state matters to later losses, graded or not."""
        found, span = self._tape.run(x.detach().numpy(), graded)
        if span is None:
            self._links = None, None, None
            return torch.from_numpy(found)
        held = self.learner.keeps and span.before is None
        block, whole, state = self._links
        if not held or block != span.block or not span.start:
            whole, state = None, None
        if whole is not None and whole.requires_grad != self.parameter.requires_grad:  # frozen, or no longer
            whole = None
        with torch.inference_mode(False), torch.enable_grad():
            if held and state is None and not (graded and x.requires_grad):
                whole = _Block.apply(self.parameter, self._tape) if whole is None else whole
                out = _Told.apply(whole, self._tape, span, found)
            else:
                out, state = _Steps.apply(x if graded else None, state, self.parameter, self._tape, span, found)
        self._links = (span.block, whole, state) if held else (None, None, None)
        return out if graded else out.detach()

    def reset(self, streams=None):
        """State and influence to zero: new sequences begin, `streams` of them if given; no loss goes back beyond."""
        self._tape.reset(streams)
        self._links = None, None, None

    def gradients(self):
        """dict of `parameter.grad` by name, as arrays shaped as in `net.parameters()`; zeros where there is none."""
        grad = self.parameter.grad
        found = torch.zeros_like(self.parameter) if grad is None else grad
        return self.learner.net.to_dense(found.detach().numpy(), trained_only=True)

    def sync(self):
        """Let the network see what was written to `parameter`, as each call does: before `net` itself is used."""
        self._tie()
        self._tape.heed()

    def extra_repr(self):
        return f"{type(self.learner).__name__} on {self.learner.net}"

    def __getstate__(self):
        """For copies and pickles: the graph stays behind, the open block's gradient does not need it."""
        return {**vars(self), "_links": (None, None, None)}

    def _tie(self):
        """See that parameter and buffer are the network's own memory still, which a copy or `.data = ...` undoes."""
        if self.learner.net.layout is not self._layout:
            told = "the network's masks have changed since the module was made"
            raise ValueError(f"{told}: make a new one of its learner")
        theta = torch.from_numpy(self.learner.net.theta)
        mine, trained = self.parameter, len(self.learner.net.trained)
        if mine.data_ptr() == theta.data_ptr():
            return
        if mine.dtype != theta.dtype or mine.device != theta.device or mine.shape != (trained,):
            raise ValueError(
                f"the module's parameter is {mine.dtype} {tuple(mine.shape)} on {mine.device}, but its network needs "
                f"{theta.dtype} {(trained,)} on the CPU: convert nothing, but choose dtype= of evsim.Network"
            )
        with torch.no_grad():
            theta.copy_(torch.cat([mine, self.fixed]))
        mine.data, self.fixed = theta[:trained], theta[trained:]


class _Block(torch.autograd.Function):
    """The open block, whose steps are swept through once in each backward, after all losses in it were told."""

    @staticmethod
    def forward(ctx, parameter, tape):
        ctx.tape = tape
        return torch.zeros((), dtype=parameter.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, *_):
        return torch.from_numpy(ctx.tape.gather(torch._C._current_graph_task_id())), None


class _Told(torch.autograd.Function):
    """Steps of one call in the open block, which tell it of their losses."""

    @staticmethod
    def forward(ctx, block, tape, span, out):
        ctx.tape, ctx.span = tape, span
        ctx.save_for_backward(block)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        (block,) = ctx.saved_tensors  # torch refuses here to take the same loss twice
        ctx.tape.tell(ctx.span, d_out.numpy(), torch._C._current_graph_task_id())
        return torch.zeros_like(block), None, None, None


class _Steps(torch.autograd.Function):
    """Steps of one call, from whose inputs torch goes further back, or which no block holds.

    `past` and the second output stand for the state before and after them. Only their gradient is ever used, by which
    torch goes back from call to call within a block.
    """

    @staticmethod
    def forward(ctx, x, past, parameter, tape, span, out):
        ctx.tape, ctx.span = tape, span
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(torch.empty(0))
        return torch.from_numpy(out), torch.zeros((), dtype=parameter.dtype).expand(tape.state_shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out, d_state):
        if d_out is None and d_state is None:
            return (None,) * 6
        if d_out is not None:
            _ = ctx.saved_tensors  # refused as above; later losses may pass through all the same
        to_x, to_past, to_parameter, *_ = ctx.needs_input_grad
        gradient, lam, d_x = ctx.tape.pull(ctx.span, _array(d_out), _array(d_state), not to_past, to_x)
        return (
            torch.from_numpy(d_x) if to_x else None, torch.from_numpy(lam) if to_past else None,
            torch.from_numpy(gradient) if to_parameter else None, None, None, None,
        )  # fmt: skip


def _array(tensor):
    return None if tensor is None else tensor.numpy()
