"""The Python in the documentation runs as it stands there."""

import re
from pathlib import Path

import pytest
from support.known_networks import DOCUMENT, replace_list

DOCS = Path(__file__).parent.parent / "docs"
SNIPPETS = [
    (path, number, code)
    for path in sorted(DOCS.glob("*.md"))
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S))
]


@pytest.mark.parametrize(("path", "number", "code"), SNIPPETS, ids=[f"{p.name}-{n}" for p, n, _ in SNIPPETS])
def test_a_snippet_runs(path, number, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"{path.name}, snippet {number}", "exec"), {"__name__": "snippet"})


def test_there_are_snippets():
    assert any(path.name == "networks.md" for path, _, _ in SNIPPETS)


def test_the_list_of_networks_is_that_of_the_tests():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == replace_list(text), "from tests/: python -m support.known_networks"
