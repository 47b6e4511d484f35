"""The price list that the collection brings is what `make prices` makes of the pinned genai-prices."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generator():
    specification = importlib.util.spec_from_file_location("prices", ROOT / "scripts/prices.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rendered(generator):
    return generator.render()


def test_list_and_page_are_those_of_the_pinned_version(rendered):
    pinned = (ROOT / "requirements-test.txt").read_text(encoding="utf-8")
    assert (
        "\n" + "==".join(next(iter(rendered.values())).split("\nsource: ")[1].split("\n")[0].split()) + "\n" in pinned
    )
    for path, text in rendered.items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is another: run make prices and read the difference"


def test_another_time_gives_the_same_bytes(generator, rendered):
    assert generator.render() == rendered


def test_each_model_is_in_the_list_or_on_the_page(generator):
    """In the list with every mode that it has a price for, or on the page with the reason."""
    page = generator.PAGE.read_text(encoding="utf-8")
    listed = {}
    for entry in generator.yaml.safe_load(generator.PRICE_LIST.read_text(encoding="utf-8"))["prices"]:
        for name in (entry["model"], *entry.get("aliases", ())):
            listed.setdefault((entry["provider"], name), set()).add(entry.get("billing_mode", "standard"))
    missing = []
    for ours, name in generator.PROVIDERS.items():
        theirs = next(provider for provider in generator.get_snapshot().providers if provider.id == name)
        modes = {}
        for (provider, each), known in listed.items():
            if provider == ours:
                modes.setdefault(id(theirs.find_model(each)), []).append(known)
        for model in theirs.models:
            contexts = [variant.when for variant in model.price_variants or ()]
            wanted = {mode for mode, known in generator.CONTEXTS.items() if any(each in contexts for each in known)}
            if id(model) in modes:
                assert all(known == {"standard", *wanted} for known in modes[id(model)]), (ours, model.id)
            else:
                missing.append(model.id)
    assert len(missing) > 10
    assert [each for each in missing if f"`{each}`" not in page] == []


@pytest.mark.parametrize(
    ("price", "text"),
    [("2.50", "2.5"), ("100", "100"), ("0.18000000000000002", "0.18"), ("0.000001", "0.000001"), ("0", "0")],
)
def test_an_amount_is_rid_of_noise(generator, price, text):
    assert generator.amount(generator.Decimal(price)) == text


def test_what_needs_more_decimals_is_not_rounded(generator):
    with pytest.raises(generator.NotLoadedError, match="6 decimals"):
        generator.amount(generator.Decimal("0.0375001234"))
