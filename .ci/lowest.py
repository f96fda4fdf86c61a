"""The lowest version of every requirement in pyproject.toml, one `name==version` a line: constraints for pip."""

import re
import tomllib
from pathlib import Path

REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[.*\])?[>=]=(?P<lowest>[0-9.]+)")


def lowest(project):
    """`name==x` for each `name>=x` and `name==x` of the dependencies and extras but the project itself."""
    wanted = sum(project["optional-dependencies"].values(), project["dependencies"])
    for text in wanted:
        if re.match(rf"{project['name']}\b", text):
            continue
        found = REQUIREMENT.match(text)
        if found is None:
            raise SystemExit(f"{text!r} in pyproject.toml has no lower bound: write name>=x")
        yield f"{found['name']}=={found['lowest']}"


if __name__ == "__main__":
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    print("\n".join(lowest(tomllib.loads(text)["project"])))
