"""A page without what it runs itself, so that a test can look for what a stranger's text has added."""

import re
from importlib.resources import files

OURS = files("spikeflip.report").joinpath("page.js").read_text(encoding="utf-8")
_DATA = re.compile(r'<script type="application/json" id="gallery-\d+-data">[^<]*</script>')


def without_scripts(page: str) -> str:
    """The page without its one script, and without the data that this reads, in which no sign can end an element."""
    return _DATA.sub("", page.replace(f"<script>{OURS}</script>", "", 1))
