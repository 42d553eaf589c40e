"""docs/cli.md, and every `muster …` line of any page: understood by click, read by the file's reader, run as Python."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from muster import Client
from muster.api import resources as r
from muster.cli import shell
from muster.cli.main import muster
from muster.cli.plan import Wanted, read
from tests.fixtures import markdown
from tests.fixtures.commandlines import lines, parse
from tests.fixtures.database import Recorder
from tests.fixtures.markdown import blocks, pages
from tests.fixtures.operators import Operators
from tests.fixtures.resources import URL

PAGE = "docs/cli.md"
TYPED = sorted(
    {line for page in pages() for block in blocks(page) if block.language == "sh" for line in lines(block.text)}
)


@pytest.mark.parametrize("line", TYPED)
def test_a_line_can_be_typed(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-1234")
    Path("models.yaml").write_text("models: {}")
    Path("vllm.log").write_text("")
    parse(line)


def test_there_are_lines_and_wrong_ones_are_found() -> None:
    assert len(TYPED) > 20
    for wrong in ("muster dploy x", "muster deploy", "muster ps --no-such", "muster workers lable gpu-1"):
        with pytest.raises(click.ClickException):
            parse(wrong)


def test_every_command_is_on_the_page() -> None:
    page = markdown.read(PAGE)
    assert [name for name in muster.commands if not re.search(rf"muster {name}\b", page)] == ["logout"]


def test_the_file_is_one_that_is_read_and_every_key_is_in_the_table() -> None:
    (block,) = [each for each in blocks(PAGE) if each.language == "yaml"]
    assert set(read(block.text)) == {"qwen", "llama", "embedder"}
    keys = re.findall(r"^\| `(\w+)` \|", markdown.read(PAGE).partition("## A file")[2].partition("## Hosts")[0], re.M)
    assert keys == ["model", *(key for key in keys if key != "model")] and set(keys) == set(Wanted.__struct_fields__)


def test_every_exit_code_is_in_the_table() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", markdown.read(PAGE), re.M)}
    meant = {shell.FAILED, shell.USAGE, shell.NOT_FOUND, shell.AUTH, shell.CONFLICT, shell.UNREACHABLE}
    assert codes == {0, *meant, shell.INTERRUPTED}


def test_the_python_is_run(database: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [each for each in blocks(PAGE) if each.comment == "run"]
    operators = Operators(tmp_path).join()
    operators.probe.ready.add("Qwen/Qwen3-0.6B")
    made: list[Client] = []

    def connected(url: str, key: str) -> Client:
        made.append(operators.client())
        return made[-1]

    code = block.text.replace("import Client, ", "import ")
    for _ in range(2):  # the second time its name is taken
        exec(compile(code, PAGE, "exec"), {"Client": connected})
    said = capsys.readouterr().out
    assert said.count("running Model loaded successfully") == 2 and "gpu-1 online 60" in said
    assert [each.name for each in made[0].deployments()] == ["qwen"]
    assert isinstance(next(made[0].deployments()), r.Deployment) and made[0].url == URL
