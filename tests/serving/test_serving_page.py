"""The page, in a browser: what a person does with mouse, keyboard or phone, against a real server."""

import re
import shutil
from importlib import resources

import pytest

from serving.servers import KEY, ask, running, upload, wav

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'auricle[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PAGE = resources.files("auricle.serving") / "page"
QUESTION = "What is decided?"
CHOICES = "Red\nGreen"  # are answered sooner than in free words
REMOVE = "\N{MULTIPLICATION SIGN}"
SCRIPT = "<img src=x onerror='window.run = 1'><script>window.run = 1</script>"
expect = sync_api.expect
expect.set_options(timeout=30_000)

in_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def opened(browser):
    """Opens a server's page. What it asks of others is stopped, and fails the test, as errors of scripts do."""
    contexts, strays, errors = [], [], []

    def open_page(server, **context):
        contexts.append(browser.new_context(**context))

        def check(route):
            if route.request.url.startswith(f"{server.url}/"):
                route.continue_()
            else:
                strays.append(route.request.url)
                route.abort()

        contexts[-1].route("**/*", check)
        page = contexts[-1].new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if "Content Security" in said.text else None)
        page.goto(server.url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not strays
    assert not errors


@pytest.fixture
def page(opened, shared):
    return opened(shared)


def send(page, audio=None, name="talk.wav"):
    page.set_input_files("#file", {"name": name, "mimeType": "audio/wav", "buffer": audio or wav(6)})
    expect(page.locator("#question")).to_be_focused()


def put(page, question=QUESTION, method=None, choices=""):
    """Asks, and waits for the answer."""
    answered = page.locator("article .seconds")
    count = answered.count()
    page.fill("#question", question)
    page.fill("#choices", choices)
    if method:
        page.select_option("#method", method)
    page.click("#ask")
    expect(answered).to_have_count(count + 1)
    expect(page.locator("#place")).to_contain_text("similarity")
    return page.locator("article").first


def shaded(page):
    """Pixels of the waveform in the accent's colour, opaque."""
    return page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas");
          const wanted = document.createElement("canvas").getContext("2d");
          wanted.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
          wanted.fillRect(0, 0, 1, 1);
          const [red, green, blue] = wanted.getImageData(0, 0, 1, 1).data;
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let found = 0;
          for (let at = 0; at < data.length; at += 4)
            found += data[at] === red && data[at + 1] === green && data[at + 2] === blue;
          return found;
        }"""
    )


def test_the_package_has_the_page_and_it_names_no_other_address():
    files = {each.name: each.read_text("utf-8") for each in PAGE.iterdir() if each.is_file()}
    assert {"index.html", "app.js", "style.css"} <= files.keys()
    for name, text in files.items():
        assert not re.search(r"https?://|innerHTML|style=", text.replace("http://www.w3.org/2000/svg", "")), name


@in_browser
def test_a_recording_is_sent_and_described(page, shared):
    send(page)
    tokens = upload(shared, wav(6)).json()["tokens"]
    expect(page.locator("#recording-title")).to_have_text("talk.wav")
    expect(page.locator("#about")).to_contain_text(f"0:06 long, {tokens} speech tokens")
    expect(page.locator("#model")).to_have_text("auricle-mini")
    expect(page.locator("#sending")).to_be_hidden()
    assert shaded(page) == 0


@in_browser
def test_an_answer_is_the_servers_with_what_was_kept_shaded(page, shared):
    send(page)
    expect(page.locator("#method")).to_have_value("searchlight")
    page.evaluate(
        """() => {
          window.pieces = 0;
          new MutationObserver((all) => (window.pieces += all.some((each) => each.target.matches?.(".waiting"))))
            .observe(document.querySelector("#answers"), { childList: true, subtree: true });
        }"""
    )
    card = put(page)
    assert page.evaluate("window.pieces") > 3  # as it is written
    recording = upload(shared, wav(6)).json()["recording"]
    said = ask(shared, recording, pruner="searchlight", pruning_rate=0.6, max_tokens=256).json()
    told = said["auricle"]
    assert card.locator(".answer").text_content() == said["choices"][0]["message"]["content"]
    expect(card).to_contain_text(f"{told['tokens']['kept']} of {told['tokens']['audio']} speech tokens")
    expect(card.locator(".tokens")).to_contain_text("Leaves 2.4 s of the speech tokens.")  # 0.6 of 6 s are gone
    expect(card).to_contain_text(f"Memory in the LLM{told['kv_bytes'] / 1e6:.3g} MB")
    expect(card).to_contain_text("prefill")
    expect(card).to_contain_text("Seconds, heard before")
    expect(page.locator("#status")).to_contain_text("Answer by searchlight, rate 0.6")
    assert shaded(page) > 0
    assert page.locator("#passages button").count() > 0
    page.hover("#waveform", position={"x": 1, "y": 20})
    expect(page.locator("#place")).to_contain_text(re.compile(r"^0:00\.\d.*similarity -?\d"))


@in_browser
def test_methods_stand_side_by_side_and_the_chosen_one_is_shown(page):
    send(page)
    put(page, method="full", choices=CHOICES)
    everything = shaded(page)
    page.select_option("#method", "searchlight")
    page.fill("#rate", "0.9")
    expect(page.locator("#rate-about")).to_have_text("Leaves 0.6 s of the speech tokens.")
    put(page, choices=CHOICES)
    some = shaded(page)
    assert 0 < some < everything
    memory = put(page, method="speech-xl", choices=CHOICES)
    expect(memory.locator("h3")).to_have_text("speech-xl, 8 to 1")
    expect(memory).not_to_contain_text("Leaves")  # it has no rate
    expect(memory).not_to_contain_text("heard before")  # it was made just now
    expect(page.locator("article h3")).to_have_text(["speech-xl, 8 to 1", "searchlight, rate 0.9", "full"])
    page.get_by_role("button", name="full", exact=True).click()
    assert shaded(page) == everything
    page.get_by_label("Remove the answer of full").click()
    expect(page.locator("article")).to_have_count(2)


@in_browser
def test_a_rate_that_was_chosen_is_that_of_all_methods(page):
    send(page)
    for method in ("speechprune", "random-crop"):
        page.select_option("#method", method)
        expect(page.locator("#rate-shown")).to_have_text("0.6")
    page.fill("#rate", "0.8")
    for method in ("full", "speech-xl", "speechprune", "searchlight"):
        page.select_option("#method", method)
    expect(page.locator("#rate-shown")).to_have_text("0.8")
    put(page, choices=CHOICES)
    expect(page.locator("article h3")).to_have_text("searchlight, rate 0.8")


@in_browser
def test_choices_have_bars_and_the_likeliest_is_the_answer(page):
    send(page)
    card = put(page, choices="Red\nGreen\n\n  Blue ")
    expect(card.locator(".scores li")).to_have_count(3)
    assert card.locator(".chosen .said span").text_content() == card.locator(".answer").text_content()
    widths = [each.bounding_box()["width"] for each in card.locator(".bar > span").all()]
    assert max(widths[:3]) > 0


@in_browser
def test_the_keyboard_is_enough(page):
    page.locator("#choose").focus()
    page.evaluate("document.querySelector('#file').addEventListener('click', () => (document.body.id = 'chosen'))")
    page.keyboard.press("Enter")
    expect(page.locator("body")).to_have_id("chosen")
    send(page)
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    expect(page.locator("article .seconds")).to_have_count(1)
    page.locator("#choose").focus()
    reached = ["choose"]
    while len(reached) < 30 and reached[-1] != REMOVE:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", reached
    wanted = ["choose", "record", "waveform", "play-kept", "question", "choices", "method", "rate", "ask"]
    assert [each for each in reached if each in wanted] == wanted
    assert reached[-2:] == ["searchlight, rate 0.6", REMOVE]
    page.keyboard.press("Enter")
    expect(page.locator("#question")).to_be_focused()
    page.locator("#waveform").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#waveform", "aria-valuetext").startswith("0:01.0")


@in_browser
def test_a_passage_is_played_and_only_it_is_fetched(page):
    send(page)
    put(page, method="full", choices=CHOICES)
    ranges = []
    page.on("request", lambda each: ranges.append(each.headers.get("range")) if "/audio" in each.url else None)
    page.locator("#passages button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#stop")).to_be_enabled()
    expect(page.locator("#passages button").first).to_have_attribute("aria-current", "true")
    page.wait_for_timeout(300)
    page.keyboard.press("Escape")
    expect(page.locator("#stop")).to_be_disabled()
    assert ranges == ["bytes=0-4095", f"bytes=44-{44 + 6 * 16000 * 2 - 1}"]


@in_browser
def test_sound_is_held_goes_on_and_ends(page):
    send(page, wav(1))
    put(page, method="full", choices=CHOICES)
    passage = page.locator("#passages button").first
    passage.click()
    passage.click()  # from its start, and still marked
    expect(passage).to_have_attribute("aria-current", "true")
    page.click("#pause")
    expect(page.locator("#pause")).to_have_text("Go on")
    page.wait_for_timeout(1800)  # longer than the recording
    expect(page.locator("#stop")).to_be_enabled()
    expect(passage).to_have_attribute("aria-current", "true")
    page.click("#pause")
    expect(page.locator("#stop")).to_be_disabled()
    expect(page.locator("#pause")).to_have_text("Pause")
    expect(page.locator("#passages [aria-current]")).to_have_count(0)


@in_browser
def test_what_looks_like_html_is_shown_as_text(page):
    send(page)
    card = put(page, question=SCRIPT, choices=f"{SCRIPT}\nNothing")
    expect(card.locator(".asked")).to_have_text(SCRIPT)
    expect(card.locator(".scores")).to_contain_text(SCRIPT)
    assert page.locator("article img, article script").count() == 0
    assert page.evaluate("window.run") is None


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_by_day_and_by_night(opened, shared, scheme):
    page = opened(shared, color_scheme=scheme)

    def brightness(name):
        probe = f"document.body.style.outlineColor = 'var(--{name})', getComputedStyle(document.body).outlineColor"
        parts = [int(each) / 255 for each in re.findall(r"\d+", page.evaluate(probe))[:3]]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
        return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    assert (brightness("ground") < 0.5) == (scheme == "dark")
    for text, ground in [
        *((text, ground) for text in ("ink", "quiet", "accent", "wrong") for ground in ("ground", "raised")),
        ("on-accent", "accent"),
    ]:
        low, high = sorted((brightness(text), brightness(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


@in_browser
def test_a_phone_needs_no_scrolling_sideways(opened, shared):
    page = opened(shared, viewport={"width": 360, "height": 740}, has_touch=True, reduced_motion="reduce")
    send(page, name="a-very-long-name-without-any-space-" * 4 + ".wav")
    put(page, question="W" * 200, choices=f"{'A' * 80}\nNothing")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("getComputedStyle(document.querySelector('#ask')).transitionDuration") == "0s"
    assert min(each.bounding_box()["height"] for each in page.locator("button:visible").all()) >= 24


@in_browser
def test_errors_are_told_in_the_servers_words(page):
    page.set_input_files("#file", {"name": "talk.wav", "mimeType": "audio/wav", "buffer": b"no sound at all"})
    expect(page.get_by_role("alert")).to_contain_text("The recording is none of wav, mp3, flac")
    expect(page.locator("#choose")).to_be_focused()
    send(page)
    expect(page.locator("#error")).to_be_hidden()
    page.fill("#question", QUESTION)
    page.fill("#choices", "Only one")
    page.click("#ask")
    expect(page.locator("article .error")).to_contain_text("choice")
    expect(page.locator("article .waiting")).to_have_count(0)


@in_browser
def test_an_error_stays_when_the_server_is_connected_later(page):
    expect(page.locator("#method option").first).to_be_attached()
    held = []

    def hold(route):
        held.append(route)

    page.route("**/v1/pruners", hold)
    page.locator("#key").dispatch_event("change")  # connects again
    page.set_input_files("#file", {"name": "talk.wav", "mimeType": "audio/wav", "buffer": b"no sound at all"})
    expect(page.get_by_role("alert")).to_contain_text("The recording is none of wav, mp3, flac")
    page.evaluate("document.querySelector('#method').replaceChildren()")
    held[0].continue_()
    expect(page.locator("#method option").first).to_be_attached()
    expect(page.get_by_role("alert")).to_be_visible()


@in_browser
def test_the_key_is_asked_for_and_forgotten_with_the_tab(opened, lm, tmp_path):
    with running(lm, tmp_path / "store", api_key=KEY) as locked:
        page = opened(locked)
        expect(page.get_by_role("alert")).to_contain_text("The API key is missing or wrong")
        expect(page.locator("#key")).to_be_focused()
        page.keyboard.type(KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#error")).to_be_hidden()
        send(page)
        put(page, method="full", choices=CHOICES)
        with page.expect_response(re.compile("/audio$")) as sound:
            page.click("#play-kept")
        assert sound.value.status == 206
        assert page.evaluate("Object.values(sessionStorage)") == [KEY]
        assert page.evaluate("localStorage.length + document.cookie.length") == 0
        page.click("#stop")


@in_browser
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs FFmpeg, which reads what browsers record")
def test_the_microphone_is_a_recording(page):
    page.evaluate(
        """() => {
          const { mediaDevices } = navigator;
          const lend = mediaDevices.getUserMedia.bind(mediaDevices);
          window.lent = 0;
          mediaDevices.getUserMedia = (wanted) => (window.lent++, lend(wanted));
          for (const _ of [1, 2]) document.querySelector("#record").click();
        }"""
    )
    assert page.evaluate("window.lent") == 1
    expect(page.locator("#record")).to_contain_text("Stop, 0:01")
    page.click("#record")
    expect(page.locator("#recording-title")).to_have_text(re.compile(r"^microphone\.(webm|m4a)$"))
    expect(page.locator("#about")).to_contain_text(re.compile(r"0:0[0-3] long"))


@in_browser
def test_moments(page):
    found = page.evaluate(
        """async () => {
          const { budget, clock, coverage, passages, smooth } = await import("/moments.js");
          return [
            [0, 59.99, 61, 3723].map((each) => clock(each)), [clock(59.96, 1), clock(0.3, 1)],
            passages([[0, 1], [1.9, 2], [3, 4]]),
            [...coverage([[0, 0.5], [1, 2], [3.5, 4]], 4, 4)],
            smooth([1, 2, 6, 0], [[0, 1], [1, 2], [2, 3], [3, 4]], 2), smooth([1, 3], [[0, 1], [8, 9]], 1),
            [[0.6, 80], [0.95, 30], [0, 7.04], [1, 7.04]].map(([rate, duration]) => budget(rate, duration)),
          ];
        }"""
    )
    assert found == [
        ["0:00", "0:59", "1:01", "1:02:03"],
        ["0:59.9", "0:00.3"],
        [[0, 2], [3, 4]],
        [0.5, 1, 0, 0.5],
        [1.5, 3, pytest.approx(8 / 3), 3],
        [1, 3],
        [
            "Leaves 12 s of speech tokens: the rate is of 30 s, however long the recording.",
            "Leaves 1.5 s of speech tokens: the rate is of 30 s, however long the recording.",
            "Leaves 7 s of the speech tokens.",
            "Leaves 0 s of the speech tokens.",
        ],
    ]
