"""Execution plans: what is filled in, what is kept and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoderkit.errors import OptionError
from encoderkit.results.machine import Machine, machine_facts
from encoderkit.runtimes.plan import DEFAULT_BATCH, DEFAULT_SEQUENCE, make_plan
from encoderkit.spec import OBJECTIVES, Objective


def machine(cores: int, **changes: Any) -> Machine:
    """A machine with `cores` cores."""
    known = replace(machine_facts(), logical_cores=cores, available_cores=cores, limited_by="")
    return replace(known, **changes)


@pytest.mark.parametrize(
    ("objective", "batch", "instances", "threads", "in_flight"),
    [("best-latency", 1, 1, 8, 1), ("best-throughput", 8, 4, 2, 2), ("balanced", 2, 4, 2, 1)],
)
def test_defaults(objective: Objective, batch: int, instances: int, threads: int, in_flight: int) -> None:
    """An objective alone makes a whole plan: one instance on all cores, or instances of two threads."""
    plan = make_plan(objective, machine(8), max_length=512)
    assert (plan.batch, plan.instances, plan.threads, plan.in_flight) == (
        batch,
        instances,
        threads,
        in_flight,
    )
    assert (plan.objective, plan.sequence, plan.lengths) == (objective, DEFAULT_SEQUENCE, "full")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_explicit_values_are_kept(objective: Objective) -> None:
    """What is given is taken as it is, whatever the objective."""
    plan = make_plan(
        objective,
        machine(12),
        max_length=512,
        lengths="mixed",
        batch=5,
        sequence=77,
        cores=3,
        instances=2,
        in_flight=7,
    )
    assert (plan.batch, plan.sequence, plan.lengths) == (5, 77, "mixed")
    assert (plan.threads, plan.instances, plan.in_flight) == (3, 2, 7)


def test_cores_alone_fill_the_machine_with_instances() -> None:
    """With --cores alone, as many instances run as fit."""
    plan = make_plan("best-throughput", machine(8), max_length=512, cores=3)
    assert (plan.instances, plan.threads) == (2, 3)


def test_instances_alone_share_the_cores() -> None:
    """With --instances alone, the cores are divided among them."""
    plan = make_plan("balanced", machine(8), max_length=512, instances=3)
    assert (plan.instances, plan.threads) == (3, 2)


def test_latency_with_fewer_cores_stays_one_instance() -> None:
    """best-latency with --cores runs one instance and leaves the other cores alone."""
    plan = make_plan("best-latency", machine(8), max_length=512, cores=2)
    assert (plan.instances, plan.threads) == (1, 2)


def test_short_models_get_short_sequences() -> None:
    """The default sequence length is no longer than the model takes."""
    assert make_plan("balanced", machine(2), max_length=40).sequence == 40


def test_longest_sequence_is_allowed() -> None:
    """A sequence as long as the model's positions is taken."""
    assert make_plan("balanced", machine(2), max_length=40, sequence=40).sequence == 40


def test_more_threads_than_cores() -> None:
    """Instances times cores beyond what is available is refused, with all the numbers."""
    with pytest.raises(OptionError, match="3 instances of 4 cores need 12, but 8 are available") as caught:
        make_plan("best-throughput", machine(8), max_length=512, cores=4, instances=3)
    assert "encoderkit doctor" in str(caught.value)


def test_refusal_says_what_limits_the_cores() -> None:
    """Where a quota hides cores, the refusal names it and the cores that there are."""
    limited = machine(64, available_cores=2, limited_by="cgroup quota")
    with pytest.raises(OptionError, match=re.escape("2 are available (cgroup quota of 64)")):
        make_plan("best-latency", limited, max_length=512, cores=3)


def test_more_instances_than_cores() -> None:
    """More instances than cores are refused: each needs a core of its own."""
    with pytest.raises(OptionError, match="5 instances of 1 cores need 5, but 2 are available"):
        make_plan("best-throughput", machine(2), max_length=512, instances=5)


def test_sequence_beyond_the_model() -> None:
    """A sequence longer than the model's positions is refused, with the length that would do."""
    with pytest.raises(
        OptionError, match="--seq-length is 41, but this model's positions end at 40"
    ) as caught:
        make_plan("balanced", machine(2), max_length=40, sequence=41)
    assert "--seq-length 40" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("batch", "--batch-size"),
        ("sequence", "--seq-length"),
        ("cores", "--cores"),
        ("instances", "--instances"),
        ("in_flight", "--set-size"),
    ],
)
@pytest.mark.parametrize("number", [0, -1])
def test_numbers_below_one(name: str, flag: str, number: int) -> None:
    """Zero isn't taken for `not given`: it is refused by the flag's name."""
    numbers: dict[str, Any] = {name: number}
    with pytest.raises(OptionError, match=f"{flag} is {number}, but has to be at least 1"):
        make_plan("balanced", machine(2), max_length=512, **numbers)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("cores", [1, 2, 8, 64])
def test_defaults_fit_machines_of_any_size(cores: int, objective: Objective) -> None:
    """A default plan never asks for more threads than there are cores."""
    plan = make_plan(objective, machine(cores), max_length=512)
    assert 1 <= plan.instances * plan.threads <= cores
    assert plan.batch == DEFAULT_BATCH[objective]


@given(
    available=st.integers(1, 256),
    objective=st.sampled_from(OBJECTIVES),
    data=st.data(),
)
def test_half_given_plans_fit(available: int, objective: Objective, data: st.DataObject) -> None:
    """With cores, or instances, or neither given within the machine, the rest is filled in to fit it."""
    within = st.integers(1, available)
    given_one = data.draw(st.sampled_from(["cores", "instances", None]))
    chosen = {given_one: data.draw(within)} if given_one else {}
    plan = make_plan(objective, machine(available), max_length=512, **chosen)
    assert 1 <= plan.instances * plan.threads <= available


def test_motif() -> None:
    """A plan's folder name says batch, sequence, instances, threads and objective."""
    plan = make_plan("best-throughput", machine(2), max_length=512)
    assert plan.motif == "B8-S128-I1-T2-best-throughput"


def test_motif_of_mixed_lengths() -> None:
    """Plans for mixed lengths are kept apart by name from those for full ones."""
    plan = make_plan("best-latency", machine(4), max_length=64, lengths="mixed")
    assert plan.motif == "B1-S64-I1-T4-best-latency-mixed"


def test_token_budget() -> None:
    """An execution may hold as many tokens as a full batch."""
    assert make_plan("balanced", machine(2), max_length=512, batch=3, sequence=50).token_budget == 150
