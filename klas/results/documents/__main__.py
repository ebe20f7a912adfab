"""``python -m klas.results.documents`` writes ``klas/schemas`` again from the types."""

import json
from importlib import resources
from pathlib import Path

from klas.results.documents.schemas import FORMS, schema


def main() -> None:
    """Write the schema of every form into the package."""
    folder = Path(str(resources.files("klas"))) / "schemas"
    for form in FORMS:
        text = json.dumps(schema(form), indent=1, ensure_ascii=False) + "\n"
        (folder / f"{form}.schema.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
