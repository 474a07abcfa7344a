"""The browser that pages are looked at in."""

import shutil

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--headless=new",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
AXE = "axe-core@4.14.1"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
