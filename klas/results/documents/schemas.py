"""The JSON Schema of each form, generated from its type."""

import re
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from klas.results.documents.comparison import Comparison
from klas.results.documents.exports import ExportNotes
from klas.results.documents.networks import ElasticDocument, NetworkDocument
from klas.results.documents.scores import ScoresDocument
from klas.results.documents.stitches import StitchList

Form = Literal[
    "klas-scores",
    "klas-stitches",
    "klas-comparison",
    "klas-network",
    "klas-elastic",
    "klas-export",
]
FORMS: dict[Form, Any] = {
    "klas-scores": ScoresDocument,
    "klas-stitches": StitchList,
    "klas-comparison": Comparison,
    "klas-network": NetworkDocument,
    "klas-elastic": ElasticDocument,
    "klas-export": ExportNotes,
}


@cache
def adapter(form: Form) -> TypeAdapter[Any]:
    """What checks a document against the type of its form."""
    return TypeAdapter(FORMS[form])


def schema(form: Form) -> dict[str, Any]:
    """The JSON Schema of a form, as ``klas/schemas`` has it."""
    made = adapter(form).json_schema(schema_generator=_Generator)
    definitions = made.pop("$defs")
    for definition in definitions.values():
        del definition["title"]  # its name again
    for described in (made, *definitions.values()):
        described["description"] = " ".join(described["description"].split())
    head = {key: made.pop(key) for key in ("title", "description")}
    return {"$schema": GenerateJsonSchema.schema_dialect, **head, **made, "$defs": definitions}


class _Generator(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never: a title would only repeat the key."""
        return False

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        """In the order in which a schema is read, not the alphabet's."""
        return value

    def normalize_name(self, name: str) -> str:
        """The name of a definition: ``ByMethod[Figures]`` is ``ByMethod_Figures``."""
        return re.sub(r"\W+", "_", name).strip("_")
