"""Loss and gradients of a batch: step by step on a CPU, as one captured CUDA graph per image size on a GPU.

A step launches thousands of small kernels; beside processes that render, a CPU cannot launch them as fast as a GPU runs them.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from sab3r_ros.lab.training.joint_objective import Draws, Objective
from sab3r_ros.lab.training.view_bank import Batch

_WARM_UP = 3  # runs before a capture, in which libraries choose their kernels


def _tensors(batch: Batch, draws: Draws) -> list[Tensor]:
    return [getattr(data, f.name) for data in (batch, draws) for f in fields(data)]


@dataclass
class _Captured:
    graph: "torch.cuda.CUDAGraph"
    batch: Batch
    draws: Draws
    terms: dict[str, Tensor]
    gradients: list[Tensor | None]


class LossAndGradients:
    """Fills the gradients of `parameters` for a batch; returns the terms of the loss, detached.

    The tensors returned and the gradients are overwritten by the next call.
    """

    def __init__(self, objective: Objective, parameters: list[nn.Parameter], graphs: bool):
        self._objective, self._parameters, self._graphs = objective, parameters, graphs
        self._captured: dict[torch.Size, _Captured] = {}

    def __call__(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        if not self._graphs:
            return self._run(batch, draws)
        captured = self._captured.get(batch.images.shape)
        if captured is None:
            captured = self._captured[batch.images.shape] = self._capture(batch, draws)
        slots = _tensors(captured.batch, captured.draws)
        for slot, value in zip(slots, _tensors(batch, draws), strict=True):
            slot.copy_(value)
        captured.graph.replay()
        for parameter, gradient in zip(self._parameters, captured.gradients, strict=True):
            parameter.grad = gradient
        return captured.terms

    def _run(self, batch, draws):
        for parameter in self._parameters:
            parameter.grad = None
        terms = self._objective(batch, draws)
        torch.stack(list(terms.values())).sum().backward()
        return {name: value.detach() for name, value in terms.items()}

    def _capture(self, batch, draws):
        torch.backends.cudnn.benchmark = True  # sizes never change
        batch, draws = (type(data)(*(t.clone() for t in vars(data).values())) for data in (batch, draws))
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._run(batch, draws)
        torch.cuda.current_stream().wait_stream(side)
        for parameter in self._parameters:
            parameter.grad = None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            terms = self._run(batch, draws)
        return _Captured(graph, batch, draws, terms, [p.grad for p in self._parameters])
