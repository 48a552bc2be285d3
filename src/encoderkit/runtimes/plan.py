"""Objective and machine make an execution plan."""

from __future__ import annotations

from dataclasses import replace

from encoderkit.errors import OptionError
from encoderkit.results.machine import Machine
from encoderkit.spec import ExecutionPlan, Lengths, Objective

# As Cloud AI 100's run_nlp_model.py has them.
DEFAULT_BATCH: dict[Objective, int] = {"best-throughput": 8, "best-latency": 1, "balanced": 2}
DEFAULT_SEQUENCE = 128
# Tokens in one execution on text: one sequence at a time for latency.
TEXT_BUDGET: dict[Objective, int] = {"best-throughput": 512, "best-latency": 1, "balanced": 256}


def make_plan(
    objective: Objective,
    machine: Machine,
    *,
    max_length: int,
    lengths: Lengths = "full",
    batch: int | None = None,
    sequence: int | None = None,
    cores: int | None = None,
    instances: int | None = None,
    in_flight: int | None = None,
) -> ExecutionPlan:
    """Fill in what isn't given.

    best-latency: one instance on all cores, one request at a time. The other two: instances of two threads,
    which were 1 to 2 % faster than twice as many of one thread with batches of 8; best-throughput keeps a
    second request ready for each, so that none waits for its next one.

    Args:
        max_length: the longest sequence that the model takes, in tokens.

    Raises:
        OptionError: more threads than cores, a sequence longer than the model's positions, or a number
            below 1.
    """
    given = {
        "--batch-size": batch,
        "--seq-length": sequence,
        "--cores": cores,
        "--instances": instances,
        "--set-size": in_flight,
    }
    for flag, value in given.items():
        if value is not None and value < 1:
            raise OptionError(f"{flag} is {value}, but has to be at least 1")
    available = machine.available_cores
    chosen_cores, chosen_instances = _spread(objective, available, cores, instances)
    needed = chosen_cores * chosen_instances
    if needed > available:
        why = f" ({machine.limited_by} of {machine.logical_cores})" if machine.limited_by else ""
        raise OptionError(
            f"{chosen_instances} instances of {chosen_cores} cores need {needed}, but {available} are "
            f"available{why}",
            hint="Lower --cores or --instances; `encoderkit doctor` shows what there is",
        )
    chosen_sequence = sequence or min(DEFAULT_SEQUENCE, max_length)
    if chosen_sequence > max_length:
        raise OptionError(
            f"--seq-length is {chosen_sequence}, but this model's positions end at {max_length}",
            hint=f"Use --seq-length {max_length} or less",
        )
    return ExecutionPlan(
        objective=objective,
        batch=batch or DEFAULT_BATCH[objective],
        sequence=chosen_sequence,
        lengths=lengths,
        instances=chosen_instances,
        threads=chosen_cores,
        in_flight=in_flight or (2 if objective == "best-throughput" else 1),
    )


def _spread(
    objective: Objective, available: int, cores: int | None, instances: int | None
) -> tuple[int, int]:
    """Threads of one instance, and instances."""
    if cores is None and instances is None:
        cores = available if objective == "best-latency" else min(2, available)
    if cores is None:
        assert instances is not None
        cores = max(1, available // instances)
    if instances is None:
        instances = 1 if objective == "best-latency" else max(1, available // cores)
    return cores, instances


def make_text_plan(
    objective: Objective,
    machine: Machine,
    *,
    longest: int,
    budget: int | None = None,
    cores: int | None = None,
    instances: int | None = None,
) -> ExecutionPlan:
    """The plan for text of any length up to `longest` tokens: sorted by length and cut by a token budget.

    Except for latency, every core is an instance of its own: executions of a few hundred tokens were 1.1 to
    1.3 times as fast by two instances of one thread as by one of two, which wait for each other.

    Raises:
        OptionError: more threads than cores.
    """
    if cores is None and instances is None and objective != "best-latency":
        cores = 1
    plan = make_plan(
        objective,
        machine,
        max_length=longest,
        lengths="mixed",
        batch=1,
        sequence=longest,
        cores=cores,
        instances=instances,
    )
    return replace(plan, budget=budget or TEXT_BUDGET[objective])
