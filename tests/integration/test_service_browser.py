"""The page in a real browser: light, dark, on a phone, and with a keyboard."""

import contextlib
import datetime
import http.server
import os
import threading
from urllib.parse import quote

import pytest
from inventory_rows import add_source
from playbook_rows import add_playbook_run, play, result, task
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from service_lab import REFRESH_TOKEN, REFRESHER, TOKEN, Service
from tool_call_rows import APPROVER_TOKEN, BOTH_TOKENS, ToolCalls

CONTRAST = """
const luminance = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((part) => {
    const value = part / 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const background = (element) => {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$|transparent/.test(color)) return color;
  }
  return "rgb(255, 255, 255)";
};
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || element.closest("svg, details:not([open]) > :not(summary), meter") || !element.getClientRects().length) continue;
  const [one, other] = [getComputedStyle(element).color, background(element)].map(luminance);
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (ratio < 4.5) found.push(element.textContent.trim() + " " + ratio.toFixed(2));
}
return found;
"""


CUT = """
const inside = (box) => box.x >= 0 && box.y >= 0 && box.x + box.width <= 720 && box.y + box.height <= 240;
return [
  ...[...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.ariaLabel),
  ...[...document.querySelectorAll(".chart text")].filter((e) => !inside(e.getBBox())).map((e) => e.textContent),
];
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory, shared_database):
    fill(shared_database.session("admin"))
    failed = fill_playbooks(shared_database.session("admin"))
    calls = fill_calls(shared_database)
    with Service(tmp_path_factory.mktemp("service"), shared_database, ENVIRONMENT="homelab", BUDGET_USD=5) as service:
        service.wait_for("/ready", 200)
        service.wait_for("/api/v1/summary", 200)
        service.failed_run = failed
        service.calls = calls
        yield service


def fill(session):
    session.run(
        "INSERT INTO hosts (name, type, status) SELECT 'h' || n, 'vm', "
        "(ARRAY['online', 'offline', 'degraded', 'unknown'])[1 + n % 4] FROM generate_series(1, 12) AS n"
    )
    task = session.insert("tasks", title="Restart Plex & friends", created_by="me")
    for status in ("queued", "running", "waiting_approval"):
        run = session.insert("task_runs", task_id=task["id"], status=status)
    tool = session.insert("tool_definitions", name="restart_deployment", risk_level="SAFE_MUTATE")
    session.insert("tool_call_records", task_run_id=run["id"], tool_id=tool["id"], status="denied")
    add_source(session, "nas", "docker", complete_minutes_ago=4)
    error = (
        "The API server at https://a-name-that-is-too-long-for-one-line-of-a-phone.home.arpa:6443 refused the token."
    )
    add_source(session, "a-source-with-a-rather-long-name", complete_minutes_ago=200, error=error, interval_seconds=300)
    for days_ago in range(3):
        session.run(
            "INSERT INTO token_usage (provider, model, input_tokens, estimated_cost_usd, cost_source, occurred_at) "
            "VALUES ('claude', 'a-model-with-a-rather-long-name-2026-11-23', 1000, %s, 'provider', reporting_day_start(%s))",
            1.5 + days_ago,
            days_ago,
        )
    # Today, so that the order of the days by their cost stays.
    session.run(
        "INSERT INTO token_usage (provider, model, project, estimated_cost_usd, cost_source) SELECT 'openai', 'm' || n, "
        "'a-project-with-a-rather-long-name-' || n, 0.1 / n, 'provider' FROM generate_series(1, 7) AS n"
    )
    session.insert("token_usage", provider="openai", model="nobody knows", input_tokens=1)
    session.insert(
        "llm_budgets", name="a-budget-with-a-rather-long-name", amount_usd=1000, provider="openai", model="m1"
    )


def fill_calls(database):
    """Calls that wait, with names and arguments that are too long for one line of a phone, and one of dave's own."""
    calls = ToolCalls(database)
    before = calls.ask({"namespace": "media", "name": "plex", "timeout": 30})
    calls.admin.run("SELECT decide_tool_call(%s, 'approve', 'as every week', %s)", before, APPROVER_TOKEN)
    calls.carry_out(before)
    calls.ask({"namespace": "media", "name": "a-deployment-with-a-name-" + "that-is-long-" * 20, "note": "word " * 300})
    calls.ask({"namespace": "media", "name": "plex", "timeout": 30}, token=BOTH_TOKENS[0])
    return calls


def fill_playbooks(session):
    """Runs with names that are too long for one line of a phone; the id of the one that failed."""
    host = session.insert("hosts", name="web1", type="vm", status="online", metadata={"kernel": "6.1.0-" + "long" * 30})
    add_playbook_run(session, "homelab/playbooks/a-playbook-with-a-rather-long-name-of-its-own.yml", seconds_ago=300)
    name = "Copy the certificate of the reverse proxy to where the web server looks for it"
    return add_playbook_run(
        session,
        status="failed",
        error=f"{name}, on web2",
        limited_to="webservers:!staging",
        hosts={
            "web1": {"host_id": host["id"], "ok": 4, "changed": 1},
            "web2.a-domain-that-is-long.home.arpa": {"failed": 1},
        },
        steps=[
            play("Web servers"),
            task(name),
            result(name, "web1", changed=True),
            result(name, "web2.a-domain-that-is-long.home.arpa", "failed"),
            result(name, "web1", "ignored"),
            result(name, "web1", "skipped"),
        ],
    )


@pytest.fixture(scope="module")
def driver():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    arguments = ["--headless=new", "--disable-dev-shm-usage", "--disable-background-networking"]
    # Names that are not this machine to a browser, which gives localhost rights that another device has not.
    arguments += ["--host-resolver-rules=MAP *.test 127.0.0.1"]
    # Its sandbox refuses root, which a test run in a container often is.
    arguments += ["--no-sandbox"] if os.geteuid() == 0 else []
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver, service):
    """The browser, logged out, in the light and as wide as a desk."""
    driver.delete_all_cookies() if driver.current_url.startswith("http") else None
    look(driver, 1280, 900)
    # What the browser has said about other tests' pages.
    driver.get_log("browser")
    driver.get(f"http://127.0.0.1:{service.port}/")
    return driver


def look(driver, width, height, scheme="light"):
    mobile = width < 600
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


def log_in(browser, token=TOKEN):
    """With the keyboard alone: the field has the focus already."""
    browser.switch_to.active_element.send_keys(token + Keys.ENTER)


def wait_for_page(browser):
    WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.ID, "database"))


def test_a_person_logs_in_sees_the_state_and_logs_out(browser):
    assert browser.title == "Log in · Mission Control"
    log_in(browser, "a-token-that-nobody-knows")
    WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=alert]"))
    log_in(browser)
    wait_for_page(browser)
    assert browser.title.endswith("· Mission Control")
    assert "Connected" in browser.find_element(By.ID, "database").text
    assert browser.find_element(By.ID, "hosts").text.split("\n")[1] == "4 of 13 online"
    assert "4 open" in browser.find_element(By.ID, "runs").text
    # The deprecated setting, as no budget of the database is one of everything.
    assert "of the budget all of $5.00; 1 other budget" in browser.find_element(By.ID, "budget").text
    rows = browser.find_elements(By.CSS_SELECTOR, "#active-runs tbody tr")
    assert [row.find_element(By.TAG_NAME, "th").text for row in rows] == [
        "Look after the media",
        *["Restart Plex & friends"] * 3,
    ]
    assert "restart_deployment" in browser.find_element(By.ID, "tools").text
    assert browser.get_cookie("mission_control_session")["httpOnly"] is True
    assert browser.execute_script("return document.cookie") == ""
    browser.find_element(By.CSS_SELECTOR, "form[action='/logout'] button").click()
    WebDriverWait(browser, 30).until(lambda driver: driver.title.startswith("Log in"))


def test_a_person_refreshes_the_inventory_from_the_page(browser, service, shared_database):
    browser.get(f"http://mission.test:{service.port}/")
    log_in(browser)
    wait_for_page(browser)
    browser.find_element(By.CSS_SELECTOR, "#sources summary").click()
    browser.find_element(By.ID, "token").send_keys(REFRESH_TOKEN + Keys.ENTER)
    button = "form[action='/inventory/refresh'] button"
    WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, button))
    browser.find_element(By.CSS_SELECTOR, button).click()
    WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=status]"))
    notice = browser.find_element(By.CSS_SELECTOR, "[role=status]").text
    assert notice == "Queued: a-source-with-a-rather-long-name, nas. Look again in a moment."
    requested = "SELECT payload ->> 'requested_by' FROM task_events WHERE payload ->> 'status' = 'queued'"
    assert set(shared_database.session("admin").values(requested)) == {REFRESHER}
    shared_database.session("admin").run(
        "UPDATE task_runs SET status = 'cancelled', finished_at = now() FROM inventory_sources AS s "
        "WHERE s.task_id = task_runs.task_id AND status = 'queued'"
    )


def test_a_person_at_another_device_logs_in_over_plain_http(browser, service):
    browser.get(f"http://mission.test:{service.port}/")
    assert browser.execute_script("return window.isSecureContext") is False
    log_in(browser)
    wait_for_page(browser)
    browser.find_element(By.CSS_SELECTOR, "form[action='/logout'] button").click()
    WebDriverWait(browser, 30).until(lambda driver: driver.title.startswith("Log in"))


@pytest.mark.parametrize("origin", ["another site", "no origin at all"])
def test_a_form_of_another_site_does_not_log_in_and_says_so_on_a_page(browser, service, origin):
    form = (
        f'<form method="post" action="http://mission.test:{service.port}/login">'
        f'<input name="token" value="{TOKEN}"><button>Win</button></form>'
    )
    if origin == "another site":
        with site_of_somebody_else(form) as port:
            browser.get(f"http://elsewhere.test:{port}/")
            browser.find_element(By.TAG_NAME, "button").click()
            WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=alert]"))
    else:
        browser.get(f"data:text/html,{quote(form)}")
        browser.find_element(By.TAG_NAME, "button").click()
        WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=alert]"))
    assert "sent from another site" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
    browser.find_element(By.LINK_TEXT, "To the page").click()
    WebDriverWait(browser, 30).until(lambda driver: driver.title.startswith("Log in"))


@contextlib.contextmanager
def site_of_somebody_else(content):
    """The port of a server that gives everybody this page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_arguments):
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_the_chart_stacks_the_models_of_each_day_and_says_its_numbers(browser):
    log_in(browser)
    wait_for_page(browser)
    days = [each.find_elements(By.TAG_NAME, "rect") for each in browser.find_elements(By.CSS_SELECTOR, ".chart g")]
    # The day before yesterday, yesterday, and today with five models and the others.
    assert [len(day) for day in days] == [1, 1, 6]
    heights = [sum(part.size["height"] for part in day) for day in days]
    assert heights[0] > heights[1] > heights[2] > 0
    colours = [part.value_of_css_property("fill") for part in days[2]]
    assert len(set(colours)) == 6
    assert days[0][0].value_of_css_property("fill") == colours[0]
    legend = browser.find_element(By.CSS_SELECTOR, "#costs .legend").text.split("\n")
    assert legend[0] == "a-model-with-a-rather-long-name-2026-11-23: $7.50"
    assert legend[1] == "m1: $0.1000"
    assert legend[-1].startswith("4 others: $0.0")
    chart = browser.find_element(By.CSS_SELECTOR, ".chart")
    assert chart.accessible_name == "Cost of each of the last 30 days" or chart.aria_role == "image"
    browser.find_element(By.CSS_SELECTOR, "#costs summary").click()
    rows = browser.find_elements(By.CSS_SELECTOR, "#costs details tbody tr")
    assert len(rows) == 30
    newest = rows[0].text.split()
    datetime.date.fromisoformat(newest[0])
    assert newest[1:3] == ["$1.50", "$0.1000"]
    assert newest[-1] == "$1.76"


def test_costs_by_project_what_has_no_price_and_budgets_are_shown(browser):
    log_in(browser)
    wait_for_page(browser)
    costs = browser.find_element(By.ID, "costs").text
    assert "(no project)" in costs
    assert "a-project-with-a-rather-long-name-1 1 $0.1000" in costs
    assert "The cost of 1 request is not known" in costs
    budgets = browser.find_elements(By.CSS_SELECTOR, "#budgets tbody tr")
    assert [row.find_element(By.TAG_NAME, "th").text for row in budgets] == ["all", "a-budget-with-a-rather-long-name"]
    assert "provider openai, model m1" in budgets[1].text
    assert budgets[0].text.endswith("spent")
    meter = budgets[0].find_element(By.TAG_NAME, "meter")
    assert (meter.get_attribute("value"), meter.accessible_name) == ("1", "Part of the budget all that is spent")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (320, "dark")])
def test_the_pages_are_readable_in_every_light_and_width(browser, service, width, scheme):
    look(browser, width, 844, scheme)
    browser.refresh()
    assert browser.execute_script(CONTRAST) == []
    log_in(browser)
    wait_for_page(browser)
    is_readable(browser)
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(14, 19, 26)"
    assert dark == (scheme == "dark")
    for path in ("/tool-calls", "/runs", f"/runs/{service.failed_run}"):
        browser.get(f"http://127.0.0.1:{service.port}{path}")
        is_readable(browser)
    browser.find_element(By.LINK_TEXT, "in the inventory").click()
    WebDriverWait(browser, 30).until(lambda driver: driver.title.startswith("Host web1"))
    is_readable(browser)
    become_approver(browser, service)
    is_readable(browser)


def is_readable(browser):
    assert browser.execute_script(CONTRAST) == []
    # Nothing is cut: neither the page nor a table in it is wider than it is shown, and the chart has room for its labels.
    assert browser.execute_script(CUT) == []
    assert browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
    small = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter((e) => e.getClientRects().length && !e.closest('svg')"
        " && parseFloat(getComputedStyle(e).fontSize) < 12).map((e) => e.tagName)"
    )
    assert small == []


def become_approver(browser, service, token=BOTH_TOKENS[1]):
    """Add the token on the page of the calls, where it is asked for."""
    browser.get(f"http://127.0.0.1:{service.port}/tool-calls")
    browser.find_element(By.CSS_SELECTOR, "#waiting summary").click()
    browser.find_element(By.ID, "token").send_keys(token + Keys.ENTER)
    WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, ".call"))


def test_a_person_approves_one_call_and_denies_another_from_the_page(browser, service):
    calls = service.calls
    approved, denied = (calls.ask({"name": name}, tool="restart_deployment") for name in ("sonarr", "radarr"))
    log_in(browser)
    wait_for_page(browser)
    browser.find_element(By.PARTIAL_LINK_TEXT, "tool calls to approve").click()
    WebDriverWait(browser, 30).until(lambda driver: driver.title.startswith("Calls of tools"))
    assert "sonarr" not in browser.page_source
    become_approver(browser, service)
    assert browser.execute_script("return document.cookie") == ""
    for call, name, button, status in (
        (approved, "sonarr", "Approve", "approved"),
        (denied, "radarr", "Deny", "denied"),
    ):
        [article] = [each for each in browser.find_elements(By.CSS_SELECTOR, ".call") if f'"{name}"' in each.text]
        # The arguments of the last call were other ones.
        assert article.find_element(By.TAG_NAME, "del").text == '- "name": "plex"'
        # The key Enter decides nothing.
        article.find_element(By.NAME, "reason").send_keys("for the film" + Keys.ENTER + "of tonight")
        [each] = [each for each in article.find_elements(By.TAG_NAME, "button") if each.text == button]
        each.click()
        notice = f"{status.capitalize()}: the call of restart_deployment."
        # The page with the notice may come between looking for it and reading it.
        WebDriverWait(browser, 30, ignored_exceptions=[StaleElementReferenceException]).until(
            lambda driver, notice=notice: (
                [each.text for each in driver.find_elements(By.CSS_SELECTOR, "[role=status]")] == [notice]
            )
        )
        row = calls.call(call)
        assert (row["status"], row["approved_by"], row["reason"]) == (status, "dave", "for the film of tonight")
    [own] = [each for each in browser.find_elements(By.CSS_SELECTOR, ".call") if "dave" in each.text]
    assert own.find_elements(By.TAG_NAME, "button") == []


def test_a_form_of_another_site_approves_nothing(browser, service):
    call = service.calls.ask({"name": "lidarr"})
    browser.get(f"http://mission.test:{service.port}/")
    log_in(browser)
    wait_for_page(browser)
    browser.get(f"http://mission.test:{service.port}/tool-calls")
    browser.find_element(By.CSS_SELECTOR, "#waiting summary").click()
    browser.find_element(By.ID, "token").send_keys(APPROVER_TOKEN + Keys.ENTER)
    WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, ".call"))
    # Also with the right key, which no other site can know.
    key = browser.find_element(By.NAME, "key").get_attribute("value")
    form = (
        f'<form method="post" action="http://mission.test:{service.port}/tool-calls/{call}"><input name="key" value="{key}">'
        '<input name="decision" value="approve"><button>Win</button></form>'
    )
    with site_of_somebody_else(form) as port:
        browser.get(f"http://elsewhere.test:{port}/")
        browser.find_element(By.TAG_NAME, "button").click()
        WebDriverWait(browser, 30).until(
            lambda driver: driver.find_elements(By.CSS_SELECTOR, "[role=alert]") or driver.title.startswith("Log in")
        )
    assert service.calls.call(call)["status"] == "pending"
    service.calls.rewrite(call, "status = 'cancelled'")


@pytest.mark.parametrize("page", ["first", "run", "calls"])
def test_a_page_breaks_no_rule_of_its_own_and_names_what_it_shows(browser, service, page):
    log_in(browser)
    wait_for_page(browser)
    if page == "run":
        browser.get(f"http://127.0.0.1:{service.port}/runs/{service.failed_run}")
    if page == "calls":
        become_approver(browser, service)
    # A violation of the content security policy, or a file that is missing, is told in the log of the browser.
    assert [
        entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE" and "403" not in entry["message"]
    ] == []
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
    for table in browser.find_elements(By.TAG_NAME, "table"):
        headers = table.find_elements(By.CSS_SELECTOR, "thead th")
        assert headers
        assert {header.get_attribute("scope") for header in headers} == {"col"}
    for region in browser.find_elements(By.CSS_SELECTOR, "[role=region], svg[role=img], section"):
        assert region.accessible_name or not region.is_displayed()
    for control in browser.find_elements(By.CSS_SELECTOR, "button, a, input:not([type=hidden]), textarea, meter"):
        assert control.accessible_name or not control.is_displayed()
