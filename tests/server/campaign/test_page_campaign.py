"""The campaign's page, looked at as a team does: in Chromium, live, with nothing from elsewhere."""

import pytest
from playwright.sync_api import expect, sync_playwright

CHROMIUM = ["--no-sandbox"]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, server):
    """Open the page as somebody; a request to elsewhere, or a word on the console, counts as a failure."""
    noise, contexts = [], []

    def open_page(name="reviewer", **options):
        context = browser.new_context(extra_http_headers={"X-Annotator": name}, **options)
        contexts.append(context)
        page = context.new_page()
        # That a request was refused is told on the console too; which ones may be is the test's business.
        page.on("console", lambda message: "status of 40" in message.text or noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: request.url.startswith((server.url, "blob:")) or noise.append(request.url))
        page.goto(f"{server.url}/")
        expect(page.locator("#summary")).to_contain_text("images")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noise == []


def submit(server, study, name, image=None, shift=0):
    with server.client(name) as client:
        if image is None:
            image = client.post("/next", json={"strategy": "random"}).json()[0]["image"]
        with study.drawn(image, shift).open("rb") as file:
            form = {"image": image, "seconds": 42}
            client.post("/labels", data=form, files={"label": ("m.png", file)}).raise_for_status()
    return image


def disagree(server, study):
    image = submit(server, study, "ann")
    with server.client("reviewer") as reviewer:
        reviewer.post("/readers", json={"images": [image], "readers": 2}).raise_for_status()
    return submit(server, study, "bob", image, shift=50)


def test_progress_shows_by_itself_as_labels_come_in(opened, server, study):
    page = opened()
    expect(page.locator("#legend")).to_contain_text("24 not begun")
    expect(page.locator("#annotators")).to_contain_text("Nobody has begun yet.")
    expect(page.locator("#facts")).to_contain_text("0 of 24")
    submit(server, study, "ann")
    with server.client("bob") as bob:
        taken = bob.post("/next", json={"strategy": "random"}).json()[0]["image"]
    expect(page.locator("#facts")).to_contain_text("1 of 24")
    expect(page.locator("#facts")).to_contain_text("42 s")
    expect(page.locator("#legend")).to_contain_text("1 in work")
    expect(page.locator("#annotators tbody tr")).to_have_count(2)
    expect(page.locator("#in-work")).to_contain_text(taken)
    expect(page.locator("#in-work")).to_contain_text("30 min")
    expect(page.locator("#log")).to_contain_text("submitted")


def test_a_reviewer_sees_the_outlines_and_decides(opened, server, study):
    image = disagree(server, study)
    page = opened()
    article = page.locator("#disagreements article")
    expect(article).to_contain_text(image)
    expect(article).to_contain_text("ann and bob: 0.")
    width = article.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert width > 300
    article.get_by_role("button", name="Take bob").click()
    expect(page.locator("#adjudication")).to_be_hidden()
    expect(page.locator("#legend")).to_contain_text("1 agreed")
    expect(page.locator("#log")).to_contain_text("decided")


def test_a_reviewer_sends_a_mask_of_their_own(opened, server, study, tmp_path):
    image = disagree(server, study)
    page = opened()
    chooser = page.get_by_label("Send a mask of your own")
    (tmp_path / "none.png").write_bytes(b"no picture")
    chooser.set_input_files(tmp_path / "none.png")
    expect(page.get_by_role("alert").filter(has_text="label")).to_be_visible()
    chooser.set_input_files(study.drawn(image, 3, grow=2))
    expect(page.locator("#adjudication")).to_be_hidden()
    expect(page.locator("#legend")).to_contain_text("1 agreed")
    with server.client("reviewer") as reviewer:
        assert reviewer.get("/audit").json()["entries"][-1]["detail"]["choice"] == "reviewer"


def test_one_of_the_readers_is_told_that_somebody_else_decides(opened, server, study):
    with server.client("reviewer-1") as reader:
        image = submit(server, study, "reviewer-1")
        reader.post("/readers", json={"images": [image], "readers": 2}).raise_for_status()
    submit(server, study, "bob", image, shift=50)
    page = opened("reviewer-1")
    page.get_by_role("button", name="Take consensus").click()
    expect(page.get_by_role("alert").filter(has_text="let somebody else decide")).to_be_visible()
    expect(page.get_by_role("button", name="Take consensus")).to_be_enabled()


def test_an_annotator_sees_how_many_wait_but_decides_nothing(opened, server, study):
    disagree(server, study)
    page = opened("ann")
    expect(page.locator("#adjudication-help")).to_have_text("1 images wait for a reviewer.")
    expect(page.get_by_role("button", name="Take consensus")).to_have_count(0)
    expect(page.locator("#reviewer")).to_be_hidden()


def test_the_log_is_checked_and_the_agreed_set_comes_as_a_file(opened, server, study):
    submit(server, study, "ann")
    page = opened()
    page.get_by_role("button", name="Check the whole log").click()
    expect(page.locator("#answer")).to_contain_text("The log is whole: 5 entries")
    with page.expect_download(timeout=120_000) as download:
        page.get_by_role("button", name="Export the agreed set").click()
    assert download.value.suggested_filename == "campaign.zip"


def test_names_are_shown_as_they_are_and_never_run(opened, server, study):
    submit(server, study, "<img src=x onerror=alert(1)>")
    page = opened()
    expect(page.locator("#annotators")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#annotators img").count() == 0


def test_a_server_that_goes_away_and_comes_back_is_noticed(browser, own_server, study):
    page = browser.new_context(extra_http_headers={"X-Annotator": "reviewer"}).new_page()
    page.goto(f"{own_server.url}/")
    expect(page.locator("#facts")).to_contain_text("0 of 24")
    own_server.stop()
    expect(page.locator("#trouble")).to_contain_text("The server does not answer")
    own_server.start()
    submit(own_server, study, "ann")
    expect(page.locator("#facts")).to_contain_text("1 of 24", timeout=40_000)
    expect(page.locator("#trouble")).to_be_hidden()
    page.context.close()


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out_of_a_narrow_or_a_wide_window(opened, server, study, width):
    disagree(server, study)
    page = opened(viewport={"width": width, "height": 900})
    expect(page.locator("#disagreements img")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
