"""Reads a report's HTML as strictly as the tests want it."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "input", "hr"}
ADDRESSES = ("src", "href", "action", "data", "poster", "srcset", "formaction", "xlink:href")


class Page(HTMLParser):
    """What a page holds. ``wrong``: tags that do not match, identifiers that stand twice, addresses that lead out."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: set[str] = set()
        self.words: list[str] = []
        self.feed(html)
        self.close()
        self.wrong += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.wrong.append(f"<{tag}> has an attribute twice: {names}")
        values = dict(attrs)
        self.tags.append((tag, values))
        if "id" in values:
            if values["id"] in self.ids:
                self.wrong.append(f"the identifier {values['id']} stands twice")
            self.ids.add(values["id"])
        for name in ADDRESSES:
            value = values.get(name)
            if value is not None and not value.startswith(("#", "data:")):
                self.wrong.append(f"<{tag} {name}={value}> leads out of the page")
        self.wrong += [f"<{tag} {name}> is a script" for name in names if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes nothing, at {self.getpos()}")

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [values for name, values in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
