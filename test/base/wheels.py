"""Makes ROOT/usr/share/python-wheels a package index and points pip at it: wheels.py ROOT

A build on a machine that reaches no package index still has to install something. What is put there:

- bottle, packed from the files of Debian's python3-bottle: the lesson app's one requirement;
- pip and setuptools, which Debian's own wheel packages have put there already;
- pip again as "<version>.post1": the same code under the version of a post-release, so that
  `pip install --upgrade pip` has something to upgrade to.

simple/ lists them as PEP 503 wants it, so that pip behaves as it does with PyPI (it says that a newer
pip exists, and remembers in /root/.cache that it looked).
"""

import base64
import hashlib
import pathlib
import re
import sys
import zipfile

EPOCH = (2024, 1, 1, 0, 0, 0)
WHEEL = "Wheel-Version: 1.0\nGenerator: strata-test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

# Debian's pip does not look for newer versions of itself by default, the lesson's does.
PIP_CONF = """[global]
index-url = file:///usr/share/python-wheels/simple
disable-pip-version-check = false
"""


def pack(directory, name, version, files):
    """Writes the wheel of files (path -> bytes), with the RECORD that pip checks them by."""
    info = f"{name}-{version}.dist-info"
    record = ""
    for path in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[path]).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(files[path])}\n"
    record += f"{info}/RECORD,,\n"
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in [*sorted(files.items()), (f"{info}/RECORD", record.encode())]:
            entry = zipfile.ZipInfo(path, EPOCH)
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED)


def bottle(root, wheels):
    installed = root / "usr/lib/python3/dist-packages"
    metadata = next(installed.glob("bottle-*.egg-info"))
    if metadata.is_dir():
        metadata = metadata / "PKG-INFO"
    metadata = metadata.read_bytes()
    version = re.search(rb"^Version: (\S+)", metadata, re.M).group(1).decode()
    info = f"bottle-{version}.dist-info"
    pack(wheels, "bottle", version, {
        "bottle.py": (installed / "bottle.py").read_bytes(),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": WHEEL.encode(),
    })


def next_pip(wheels):
    source = next(path for path in wheels.glob("pip-*.whl") if ".post" not in path.name)
    old = source.name.split("-")[1]
    new = old + ".post1"
    files = {}
    with zipfile.ZipFile(source) as wheel:
        for path in wheel.namelist():
            if path.endswith(("/", "/RECORD")):
                continue
            data = wheel.read(path)
            if path in ("pip/__init__.py", f"pip-{old}.dist-info/METADATA"):
                data = data.replace(old.encode(), new.encode())
            files[path.replace(f"pip-{old}.dist-info", f"pip-{new}.dist-info")] = data
    pack(wheels, "pip", new, files)


def index(wheels):
    for wheel in sorted(wheels.glob("*.whl")):
        project = wheels / "simple" / wheel.name.split("-")[0]
        project.mkdir(parents=True, exist_ok=True)
        fresh = not (project / "index.html").exists()
        with open(project / "index.html", "a") as page:
            if fresh:
                page.write("<!DOCTYPE html>\n")
            page.write(f'<a href="../../{wheel.name}">{wheel.name}</a><br>\n')


def main():
    root = pathlib.Path(sys.argv[1])
    wheels = root / "usr/share/python-wheels"
    bottle(root, wheels)
    next_pip(wheels)
    index(wheels)
    (root / "etc/pip.conf").write_text(PIP_CONF)


main()
