"""For mkdocs: README.md, CONTRIBUTING.md and CHANGELOG.md are pages of the site too, by links in docs/."""

import re

FROM_THE_ROOT = {"readme.md", "contributing.md", "changelog.md"}
PAGES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_page_markdown(markdown, *, page, config, files):
    """Links of these pages are written as seen from the root of the repository."""
    if page.file.src_uri not in FROM_THE_ROOT:
        return markdown
    markdown = markdown.replace("](docs/", "](")
    return re.sub(r"\]\((README|CONTRIBUTING|CHANGELOG)\.md", lambda found: f"]({PAGES[found[1] + '.md']}", markdown)
