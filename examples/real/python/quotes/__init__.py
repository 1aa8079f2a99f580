"""Quotes, by author."""

QUOTES = {
    "dijkstra": "Simplicity is prerequisite for reliability.",
    "hopper": "A ship in port is safe, but that's not what ships are built for.",
    "knuth": "Premature optimization is the root of all evil.",
}


def find(author):
    """The author's quote, or None."""
    return QUOTES.get(author.lower())
