"""The package's metadata, read from settings.ini: the one place that states it."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=["="])
parser.read("settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]
own = {name: cfg[f"{name}_requirements"].split() for name in ("train", "serve", "dashboard", "notebooks", "dev")}
extras = own | {"notebooks": own["train"] + own["serve"] + own["dashboard"] + own["notebooks"]}
extras["dev"] = extras["notebooks"] + own["dev"]

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    keywords=cfg["keywords"],
    packages=find_packages(include=["creditrisk", "creditrisk.*"]),
    package_data={"creditrisk": ["page/*", "portfolios/*"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"],
    },
    zip_safe=False,
)
