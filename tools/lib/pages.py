"""Pages that people write and programs fill in between marks, `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""

import re
import sys
from pathlib import Path


def fill(text: str, name: str, content: str) -> str:
    marked = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.S)
    if not marked.search(text):
        sys.exit(f"error: the page has no place for `{name}`")
    return marked.sub(lambda found: f"{found.group(1)}{content}\n{found.group(2)}", text)


def fill_page(page: Path, name: str, content: str) -> None:
    page.write_text(fill(page.read_text(), name, content))
