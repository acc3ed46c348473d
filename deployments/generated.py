"""Files of the repository that are written from the code; with `--check` they only are compared."""

import sys

from deployments import ROOT, configuration, metrics_page, serve, task_types_page


def main() -> None:
    """Write the files; with `--check` exit with an error where one is out of date."""
    texts = {
        configuration.DOCUMENT: configuration.write_document(),
        configuration.EXAMPLE: configuration.write_example(),
        serve.DOCUMENT: serve.write_document(),
        metrics_page.DOCUMENT: metrics_page.write_document(),
        task_types_page.DOCUMENT: task_types_page.write_document(),
    }
    for path, text in texts.items():
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            shown = path.relative_to(ROOT)
            sys.exit(f"out of date: {shown}; run `make configuration` or `make openapi`")


if __name__ == "__main__":
    main()
