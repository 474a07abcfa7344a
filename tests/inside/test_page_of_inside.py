"""The code on the page runs as it stands."""

from pathlib import Path

import seewhy as sw
from seewhy.data.world import generate

PAGE = (Path(__file__).parents[2] / "docs" / "inside.md").read_text()


def test_the_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = [each.partition("```")[0] for each in PAGE.split("```python\n")[1:]]
    assert len(blocks) == 3
    names = {"sw": sw, "pictures": list(generate(4, seed=5).pictures)}
    for block in blocks:
        exec(block, names)  # noqa: S102 - the page's own code
    written = {each.name for each in tmp_path.iterdir()}
    assert written == {"activations.png", "filters.png", "exciting.png"}
    assert "block4" in capsys.readouterr().out
