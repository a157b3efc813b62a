"""The page, open in a browser."""

import pytest
from opened_page import CHROMIUM, SHAPE, sync_api


@pytest.fixture
def page(address: str):
    """The page, open, in a browser that remembers nothing; an error on its console fails the test."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_default_timeout(20_000)
        page.goto(address)
        sync_api.expect(page.get_by_test_id("slice-z")).to_contain_text(f"/ {SHAPE[0] - 1}")
        yield page
        browser.close()
        assert errors == []
