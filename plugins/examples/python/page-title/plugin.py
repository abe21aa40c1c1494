"""Fetches the page of the input and tells its title and how many links it has."""

from html.parser import HTMLParser

import windlass
from windlass import log, permanent, transient


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.title, self.links, self._inside = "", 0, False

    def handle_starttag(self, tag, attributes):
        self._inside = tag == "title"
        self.links += tag == "a" and dict(attributes).get("href") is not None

    def handle_endtag(self, tag):
        self._inside = self._inside and tag != "title"

    def handle_data(self, text):
        if self._inside:
            self.title += text


def run(work):
    url = work.input.get("url")
    if not url:
        raise permanent('input.url is missing: write {"url": "https://…"}')
    answer = windlass.fetch(url, headers={"accept": "text/html"})
    log("info", f"{url} answered {answer.status}", bytes=len(answer.body))
    if answer.status != 200:
        again = answer.status == 429 or answer.status >= 500
        raise (transient if again else permanent)(f"{url} answered {answer.status}")
    page = Page()
    page.feed(answer.body.decode(errors="replace"))
    title = " ".join(page.title.split())
    return title or "(no title)", {"title": title, "links": page.links}


Job = windlass.job(run)
Describe = windlass.describe(
    {
        "name": "page-title",
        "version": "0.1.0",
        "summary": "Tells the title of a page",
        "config": {"type": "object", "additionalProperties": False},
        "wants": ["http"],
    }
)
