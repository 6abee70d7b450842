"""The segments of a model: parts that are computed one after another, each with its own weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from datafeed.errors import TrainerError
from trainers.out_of_core.adoption import key_of

__all__ = ["Segment", "constants_of", "find_segments", "parameters_apart"]


@dataclass
class Segment:
    """A part of a model.

    Attributes:
        name: In the model.
        module: Called once in each forward pass.
        parameters: Those that no other part of the model uses.
    """

    name: str
    module: nn.Module
    parameters: list[nn.Parameter] = field(default_factory=list)


def find_segments(model: nn.Module, names: Sequence[str] | None) -> tuple[list[Segment], bool]:
    """Find the segments of a model, and share its parameters out.

    Args:
        model: The model.
        names: Of modules, in the order in which the forward pass calls them; a ModuleList stands
            for its modules. None: the children of an ``nn.Sequential``.

    Returns:
        The segments, and whether they are a chain: each takes what the one before gives, and
        nobody else sees it.

    Raises:
        TrainerError: the names are missing or wrong.
    """
    if names is None:
        if type(model).forward is not nn.Sequential.forward:
            raise TrainerError(
                f"out of core: {type(model).__name__} is no nn.Sequential; name its segments in "
                "the order of the forward pass, as segments=['stem', 'blocks', 'head']"
            )
        found = list(model.named_children())
    else:
        found = [part for name in names for part in _expand(model, name)]
    _refuse_nested(found)
    segments = [Segment(name, module) for name, module in found]
    _share_out(model, segments)
    return segments, names is None


def _expand(model: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    try:
        module = model.get_submodule(name)
    except AttributeError as error:
        raise TrainerError(
            f"out of core: the model has no module {name!r}; see model.named_modules()"
        ) from error
    if isinstance(module, nn.ModuleList):
        yield from ((f"{name}.{i}", child) for i, child in enumerate(module))
    else:
        yield name, module


def _refuse_nested(found: Sequence[tuple[str, nn.Module]]) -> None:
    seen: dict[int, str] = {}
    for name, module in found:
        for part in module.modules():
            other = seen.setdefault(id(part), name)
            if other != name:
                raise TrainerError(
                    f"out of core: segments {other!r} and {name!r} have a module in common; name "
                    "modules that do not contain each other, each once"
                )


def _share_out(model: nn.Module, segments: Sequence[Segment]) -> None:
    """Return each segment the parameters whose memory nobody outside of it uses."""
    users: dict[int, set[int]] = {}
    for i, segment in enumerate(segments):
        for parameter in segment.module.parameters():
            users.setdefault(key_of(parameter), set()).add(i)
    inside = {id(m) for segment in segments for m in segment.module.modules()}
    for module in model.modules():
        if id(module) not in inside:
            for parameter in module.parameters(recurse=False):
                users.setdefault(key_of(parameter), set()).add(-1)
    for i, segment in enumerate(segments):
        segment.parameters = [p for p in segment.module.parameters() if users[key_of(p)] == {i}]


def parameters_apart(
    model: nn.Module, optimizer: torch.optim.Optimizer, segments: Sequence[Segment]
) -> list[Tensor]:
    """List the parameters of model and optimizer that belong to no segment, or to several."""
    own = {id(p) for segment in segments for p in segment.parameters}
    every = [*model.parameters(), *(p for g in optimizer.param_groups for p in g["params"])]
    return list({id(p): p for p in every if id(p) not in own}.values())


def constants_of(model: nn.Module) -> Iterator[Tensor]:
    """Return buffers and other tensors that modules hold, but for parameters."""
    yield from model.buffers()
    for module in model.modules():
        values: dict[str, Any] = vars(module)
        yield from (value for value in values.values() if isinstance(value, Tensor))
