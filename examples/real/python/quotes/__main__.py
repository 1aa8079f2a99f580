"""The server: GET /quotes/AUTHOR, on $PORT."""

import os

import bottle

from quotes import QUOTES, find

app = bottle.Bottle()


@app.get("/healthz")
def healthz():
    return "ok\n"


@app.get("/quotes")
def authors():
    return {"authors": sorted(QUOTES)}


@app.get("/quotes/<author>")
def quote(author):
    text = find(author)
    if text is None:
        bottle.abort(404, f"nothing by {author}")
    return {"author": author, "quote": text}


app.run(host="0.0.0.0", port=int(os.environ["PORT"]), quiet=True)
