"""No text, and no recording, makes a parser raise: tools print what they like."""

import copy
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from gemma_edge.hardware import parse_recording
from gemma_edge.hardware.build import parse_architectures, parse_instructions
from gemma_edge.hardware.cgroups import divide_quota, iter_files, parse_cgroups, parse_left
from gemma_edge.hardware.cpu import decode_windows_cores, parse_cpuinfo
from gemma_edge.hardware.memory import parse_meminfo, parse_vm_stat
from gemma_edge.hardware.nvidia import parse_pci, parse_smi_query, parse_smi_table, shorten
from gemma_edge.hardware.text import parse_pairs, parse_ranges
from tests.hardware.machines import NAMES, load

# Characters of the formats are likelier than others, so that the text comes far.
TEXT = some.text(some.sampled_from(string.printable + "²٣MiB|,:=-"), max_size=300) | some.text()
SCALARS = some.none() | some.booleans() | some.integers() | some.floats() | TEXT
ANYTHING = some.recursive(
    SCALARS, lambda inner: some.lists(inner) | some.dictionaries(TEXT, inner), max_leaves=10
)


@pytest.mark.parametrize(
    "parse",
    [
        parse_architectures, parse_instructions, parse_cgroups,
        iter_files, parse_cpuinfo, decode_windows_cores, parse_meminfo,
        parse_vm_stat, parse_smi_table, parse_pci, shorten,
        parse_pairs, parse_ranges,
    ],
    ids=lambda parse: parse.__name__,
)  # fmt: skip
@given(TEXT)
def test_any_text(parse, text):
    parse(text)


@given(TEXT, TEXT)
def test_any_two_texts(one, other):
    parse_smi_query(one, other)
    divide_quota(one, other)
    parse_left(one, other, one)


@given(some.dictionaries(TEXT, ANYTHING))
def test_any_recording(recording):
    parse_recording(recording)


@settings(max_examples=300)
@given(some.sampled_from(NAMES), some.randoms(use_true_random=False), ANYTHING, TEXT)
def test_a_recording_with_a_part_gone_wrong(name, random, thing, text):
    """One value of a true recording becomes another, wherever it stands."""
    recording = load(name)
    places = list(iter_places(recording))
    holder, key = random.choice(places)
    value = holder[key]
    if isinstance(value, str) and random.random() < 0.7:
        at = random.randrange(len(value) + 1)
        holder[key] = value[:at] + text + value[at + random.randrange(4) :]
    else:
        holder[key] = thing
    kept = copy.deepcopy(recording)
    hardware = parse_recording(recording)
    assert hardware.cpu.cores >= 1
    assert repr(recording) == repr(kept)


def iter_places(value: Any) -> Any:
    """Every place in a recording: a mapping or list, and a key or index."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield value, key
            yield from iter_places(inner)
