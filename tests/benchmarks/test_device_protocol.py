"""Reading the app's progress; the text of the protocol and its types say the same."""

import json
import re
from pathlib import Path

from msd_edge.benchmarks.devices.protocol import Configuration, PhoneResult, Progress

DOCUMENT = (Path(__file__).parents[2] / "docs/device-protocol.md").read_text()


def read(text: str) -> Progress:
    progress = Progress()
    for line in text.splitlines():
        progress.feed(line)
    return progress


def test_progress_and_end_are_read() -> None:
    progress = Progress()
    step = progress.feed('INSTRUMENTATION_STATUS: step={"done":3,"total":9,"text":"measuring"}')
    assert step is not None
    assert (step.done, step.total, step.text) == (3, 9, "measuring")
    assert progress.feed("INSTRUMENTATION_STATUS_CODE: 1") is None
    assert progress.code is None
    progress.feed("INSTRUMENTATION_RESULT: nonce=ab=c")
    progress.feed("INSTRUMENTATION_CODE: -1")
    assert progress.values == {"nonce": "ab=c"}
    assert progress.code == -1


def test_a_crash_over_several_lines_is_kept_as_one_text() -> None:
    progress = read(
        "INSTRUMENTATION_RESULT: shortMsg=Process crashed.\nINSTRUMENTATION_RESULT: longMsg=java.lang.Error: a\n"
        "  at b\nINSTRUMENTATION_CODE: 0\n"
    )
    assert progress.values == {"shortMsg": "Process crashed.", "longMsg": "java.lang.Error: a at b"}
    assert progress.code == 0


def test_what_am_says_itself_is_a_failure() -> None:
    progress = read("android.util.AndroidException: INSTRUMENTATION_FAILED: org.msdedge.demo/.BenchInstrumentation\n")
    assert progress.failure == "" or "INSTRUMENTATION_FAILED" in progress.failure
    progress = read("INSTRUMENTATION_STATUS: Error=Unable to find instrumentation info for: ComponentInfo{x}\n")
    assert "Unable to find instrumentation" in progress.failure
    assert read("INSTRUMENTATION_FAILED: org.msdedge.demo/.BenchInstrumentation").failure
    assert read("INSTRUMENTATION_ABORTED: System has crashed.").failure


def test_a_step_that_is_no_step_is_passed_over() -> None:
    assert Progress().feed("INSTRUMENTATION_STATUS: step={nonsense") is None
    assert Progress().feed("a line of something else") is None


def test_the_document_names_every_key() -> None:
    """The app is built against the text: what is in the types has to be in it, and nothing else."""
    blocks = re.findall(r"^    \{\n(?:    .*\n)+?    \}$", DOCUMENT, re.MULTILINE)
    config, result = (set(re.findall(r'^      "(\w+)":', block, re.MULTILINE)) for block in blocks)
    assert config == set(Configuration.model_fields)
    assert result == set(PhoneResult.model_fields)


def test_an_unknown_key_of_a_newer_app_is_ignored_and_a_missing_end_is_not() -> None:
    fields = PhoneResult.model_json_schema()["required"]
    assert "complete" in fields
    assert json.dumps(PhoneResult.model_json_schema()["properties"]["complete"]).count("true") == 1
