"""Whether text in pictures can be recognised here."""

from importlib.util import find_spec


def has_ocr() -> bool:
    """Check whether the extra `ocr` is installed, without importing it."""
    return all(find_spec(name) is not None for name in ("rapidocr", "onnxruntime"))
