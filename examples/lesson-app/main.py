"""A small API: greetings, and what the container it runs in looks like."""

import os
import platform

from bottle import Bottle

from greetings import GREETINGS

app = Bottle()


@app.get("/")
def index():
    return {"app": "lesson-app", "env": os.environ.get("APP_ENV", "dev"), "python": platform.python_version()}


@app.get("/hello/<name>")
def hello(name):
    return {language: f"{greeting}, {name}!" for language, greeting in GREETINGS.items()}


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=8000)
