"""Shapes and types are checked at run time in every test."""

from jaxtyping import install_import_hook

hook = install_import_hook("auricle", "beartype.beartype")
