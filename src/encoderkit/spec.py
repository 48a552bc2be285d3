"""The nouns that every layer shares: tasks, objectives, precisions and the execution plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Task = Literal[
    "fill-mask",
    "question-answering",
    "text-classification",
    "token-classification",
    "feature-extraction",
    "sentence-similarity",
]
TextTaskName = Literal[Task, "rerank"]
TaskChoice = Literal["default", TextTaskName]
Objective = Literal["best-latency", "best-throughput", "balanced"]
Precision = Literal["fp32", "bf16", "fp16"]
Lengths = Literal["full", "mixed"]
Layout = Literal["encoderkit", "qaic"]
Verify = Literal["self", "transformers"]
Via = Literal["encoderkit", "torch"]
# Whose a task's head is: the checkpoint's, drawn by a seed, or there is none to have.
HeadState = Literal["checkpoint", "random", "none"]
Overflow = Literal["truncate", "error", "mean-of-windows"]
Aggregation = Literal["none", "simple", "first", "average", "max"]
Scores = Literal["auto", "softmax", "sigmoid", "none"]
Vectors = Literal["auto", "sentence", "tokens"]
Compare = Literal["fp32"]

TASKS: tuple[Task, ...] = get_args(Task)
# What is done with text -> the tasks whose graphs can serve it, better ones first.
GRAPHS: dict[TextTaskName, tuple[Task, ...]] = {
    **{task: (task,) for task in TASKS},
    "rerank": ("text-classification", "sentence-similarity"),
}
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def graph_task(task: TaskChoice, *, default: Task, has_head: Callable[[Task], bool]) -> Task:
    """The task whose graph is run for `task`: the first that can serve it and that the model has a head for,
    else the last.

    Args:
        default: what the model does without being told.
    """
    if task == "default":
        return default
    graphs = GRAPHS[task]
    return next((each for each in graphs if has_head(each)), graphs[-1])


@dataclass(frozen=True, kw_only=True)
class ExecutionPlan:
    """How a compiled graph is run on this machine.

    Attributes:
        objective: what the plan was made for.
        batch: sequences in one execution; for mixed lengths the token budget is `batch * sequence`.
        sequence: tokens in a padded sequence (fixed shape), or the longest one (mixed lengths).
        lengths: `full` runs a fixed shape, `mixed` cuts length-sorted work by the token budget.
        instances: executions that run at the same time, each on threads of its own.
        threads: threads of one instance.
        in_flight: requests submitted and not yet answered, per instance.
        budget: the token budget where it isn't `batch * sequence`.
    """

    objective: Objective
    batch: int
    sequence: int
    lengths: Lengths
    instances: int
    threads: int
    in_flight: int
    budget: int | None = None

    @property
    def token_budget(self) -> int:
        """Tokens (padding included) that one execution may hold."""
        return self.budget or self.batch * self.sequence

    @property
    def motif(self) -> str:
        """The plan as a folder name, `B8-S128-I1-T2-best-throughput`; what is compiled for text of any
        length doesn't depend on the budget: `text-I1-T2-best-throughput`."""
        instances = f"I{self.instances}-T{self.threads}-{self.objective}"
        if self.budget:
            return f"text-{instances}"
        mixed = "-mixed" if self.lengths == "mixed" else ""
        return f"B{self.batch}-S{self.sequence}-{instances}{mixed}"
