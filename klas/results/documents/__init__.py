"""The JSON documents as types: what each form holds, the schemas that follow, and the checks.

A document is a plain dictionary, as it is in its file. The types say which keys it has, pydantic
checks a stranger's file against them, and ``klas/schemas`` is generated from them.
"""
