"""``msd-edge report``: what it writes, what it says, what it refuses."""

import json
import sys
import webbrowser

import pytest
from support import report_data as made
from support.page_check import Page

from msd_edge.cli import app as cli
from msd_edge.cli import report as verb


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Go to a folder, with a name that is hard on paths, that holds results and their bundle."""
    if not any(command.name == "report" for command in cli.app.registered_commands):
        verb.register(cli.app)
    folder = tmp_path / "temp evil é 模型"
    folder.mkdir()
    monkeypatch.chdir(folder)
    sha = made.save_bundle(folder / "bundles" / "resnet20-cifar10", made.manifest())
    made.save_results(folder / "results" / "desk.json", made.results(manifest_sha256=sha))
    return folder


def test_it_takes_the_newest_and_says_so(here, capsys):
    assert cli.run(["report"]) == 0
    out, err = capsys.readouterr()
    assert "results  results/desk.json (newest) · this machine" in out
    assert "bundle   bundles/resnet20-cifar10" in out
    assert "found    tflite-int8 at lossless: 91.0 %" in out
    assert out.splitlines()[-1] == "report   report.html"
    assert err == ""
    page = Page((here / "report.html").read_text(encoding="utf-8"))
    assert page.wrong == []
    assert "Parity of every file" in page.text


def test_markdown_csv_and_json(here, capsys):
    made.save_results(here / "phone.json", made.results(device="Pixel 8"))
    arguments = ["results/desk.json", "phone.json", "--out", "a/b.html", "--markdown", "a/b.md", "--csv", "a/b.csv"]
    assert cli.run(["report", *arguments, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["report"] == "a/b.html"
    assert [entry["device"] for entry in value["results"]] == ["this machine", "Pixel 8"]
    assert value["results"][1]["bundle"] is None
    assert (here / "a" / "b.md").read_text(encoding="utf-8").startswith("# resnet20-cifar10")
    assert (here / "a" / "b.csv").read_text(encoding="utf-8").startswith("device,bundle,")


def test_it_never_overwrites_unasked_and_writes_all_or_nothing(here, capsys):
    (here / "old.md").write_text("mine")
    assert cli.run(["report", "--markdown", "old.md"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert not (here / "report.html").exists()
    assert (here / "old.md").read_text() == "mine"
    assert cli.run(["report", "--markdown", "old.md", "--overwrite"]) == 0
    assert cli.run(["report"]) == 2
    assert cli.run(["report", "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.json"], "there is no such results file"),
        (["results/desk.json", "--out", "results/desk.json", "--overwrite"], "the results would be overwritten"),
        (["--csv", "x", "--markdown", "x"], "would be overwritten"),
        (["--out", "results"], "this is a folder"),
        (["--bundle", "nowhere"], "there is no such bundle"),
    ],
)
def test_wrong_input_is_one_sentence(here, capsys, arguments, said):
    assert cli.run(["report", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("msd-edge: ")
    assert len(err.splitlines()) == 1
    assert not (here / "report.html").exists()


def test_a_missing_input_is_told_before_an_output_that_is_there(here, capsys):
    (here / "report.html").write_text("mine")
    for arguments, said in (
        (["nothing.json"], "nothing.json: there is no such results file."),
        (["--bundle", "nowhere"], "nowhere: there is no such bundle; make one with `msd-edge export`."),
        ([], "report.html is there already; --overwrite replaces it."),
    ):
        assert cli.run(["report", *arguments]) == 2
        assert capsys.readouterr().err == f"msd-edge: {said}\n"
    assert (here / "report.html").read_text() == "mine"


def test_without_results_it_says_what_makes_them(here, capsys):
    (here / "results" / "desk.json").unlink()
    assert cli.run(["report"]) == 2
    assert "msd-edge bench" in capsys.readouterr().err


def test_without_jinja_it_says_how_to_get_it(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert cli.run(["report"]) == 1
    assert "pip install 'msd-edge[report]'" in capsys.readouterr().err


def test_open_shows_the_page_and_bears_having_no_browser(here, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(webbrowser, "open", lambda address: shown.append(address) or True)
    assert cli.run(["report", "--open"]) == 0
    assert shown == [(here / "report.html").resolve().as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert cli.run(["report", "--open", "--overwrite"]) == 0
    assert "open report.html yourself" in capsys.readouterr().err


def test_options_from_a_file(here):
    (here / "report.toml").write_text('out = "from-file.html"\n')
    assert cli.run(["report", "--config", "report.toml"]) == 0
    assert (here / "from-file.html").is_file()
