"""The page's settings: read in one place, refused in one line, and listed in the documentation as they are."""

import os
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from demo import serve
from demo.serve import load_captioner
from demo.server import start_up
from demo.server.start_up import bind_address, check_places, free_port, keep_proxies_out, prepare_environment
from demo.settings import (
    VARIABLES,
    Settings,
    checkpoint_folder,
    device_beside,
    main,
    read_settings,
    settings_table,
)
from valm_core.captions.captioner import Captioner

ROOT = Path(__file__).parents[2]
GOOD = {
    "VALM_CALIBRATION": ("c.json", "calibration", "c.json"),
    "VALM_COLLECTION": ("my photos", "collection", "my photos"),
    "VALM_GPU_SECONDS": ("120", "gpu_seconds", 120),
    "VALM_MORE": ("runs/tag,runs/read", "more", ("runs/tag", "runs/read")),
    "VALM_COLLECTION_INDEX": ("my.index", "collection_index", "my.index"),
    "VALM_CHECKPOINT": ("me/model@main", "checkpoint", "me/model@main"),
    "VALM_FIND_CHECKPOINT": ("me/finder", "find_checkpoint", "me/finder"),
    "VALM_DESCRIBE_CHECKPOINT": ("me/captioner", "describe_checkpoint", "me/captioner"),
    "VALM_PROMPT": ("{image}Question: {question}", "prompt", "{image}Question: {question}"),
    "VALM_COMPARE": ("a=me/one, vilt = dandelin/vilt", "compare", {"a": "me/one", "vilt": "dandelin/vilt"}),
    "GRADIO_SERVER_NAME": ("[::1]", "address", "::1"),
    "GRADIO_SERVER_PORT": ("7861", "server_port", 7861),
    "GRADIO_ROOT_PATH": ("/valm/", "root_path", "/valm"),
    "GRADIO_TEMP_DIR": ("uploads", "temp_dir", "uploads"),
    "VALM_SOURCE_URL": ("https://example.org/valm", "source_url", "https://example.org/valm"),
    "GRADIO_RUN_HISTORY": ("True", "run_history", True),
    "GRADIO_ANALYTICS_ENABLED": ("1", "analytics", True),
    "VALM_AUTH": ("ann:a:b, bob:c", "auth", (("ann", "a:b"), ("bob", "c"))),
    "VALM_REQUESTS_PER_MINUTE": ("30", "requests_per_minute", 30),
    "VALM_TRUSTED_PROXIES": ("2", "trusted_proxies", 2),
    "VALM_MCP": ("0", "mcp", False),
    "VALM_FEEDBACK": ("x.db", "feedback", "x.db"),
    "VALM_FEEDBACK_REPO": ("me/corrections", "feedback_repo", "me/corrections"),
    "VALM_FEEDBACK_MB": ("5", "feedback_mb", 5),
    "VALM_FEEDBACK_DAYS": ("7", "feedback_days", 7),
    "VALM_FEEDBACK_CONTACT": ("ann@example.org", "feedback_contact", "ann@example.org"),
}
BAD = [
    ("VALM_PROMPT", "What is it?"),
    ("VALM_GPU_SECONDS", "0"),
    ("VALM_COMPARE", "nonsense"),
    ("VALM_COMPARE", "a=x,a=y"),
    ("VALM_COMPARE", "=x"),
    ("VALM_COMPARE", "a=/no/such/folder"),
    ("VALM_COMPARE", "a=nofolder"),
    ("VALM_COMPARE", f"a={ROOT / 'assets' / 'checkpoints' / 'tag'}"),
    ("VALM_COMPARE", ","),
    ("GRADIO_SERVER_PORT", "abc"),
    ("GRADIO_SERVER_PORT", "0"),
    ("GRADIO_SERVER_PORT", "65536"),
    ("GRADIO_ROOT_PATH", "valm"),
    ("VALM_SOURCE_URL", "javascript:alert(1)"),
    ("VALM_SOURCE_URL", 'https://example.org/"><script>'),
    ("GRADIO_RUN_HISTORY", "maybe"),
    ("GRADIO_ANALYTICS_ENABLED", "maybe"),
    ("VALM_REQUESTS_PER_MINUTE", "x"),
    ("VALM_REQUESTS_PER_MINUTE", "-1"),
    ("VALM_REQUESTS_PER_MINUTE", "1.5"),
    ("VALM_TRUSTED_PROXIES", "11"),
    ("VALM_MCP", "perhaps"),
    ("VALM_FEEDBACK_REPO", "corrections"),
    ("VALM_FEEDBACK_MB", "lots"),
    ("VALM_FEEDBACK_DAYS", "0"),
]


def sources() -> list[Path]:
    """The project's Python files, without the tests."""
    folders = ("demo", "valm_core", "training", "hosting")
    return [ROOT / "app.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]


@pytest.fixture
def environment():
    """The process's environment without settings and proxies, put back afterwards."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("VALM_", "GRADIO_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.pop("FORWARDED_ALLOW_IPS", None)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


def test_nothing_set_gives_the_defaults():
    assert read_settings({}) == Settings() == read_settings(dict.fromkeys(VARIABLES, " "))
    assert Settings().address == "127.0.0.1" and read_settings({"SPACE_ID": "me/valm"}).address == "0.0.0.0"


def test_every_variable_is_read():
    assert GOOD.keys() == VARIABLES.keys()
    read = read_settings({name: text for name, (text, _, _) in GOOD.items()})
    assert {name: getattr(read, field) for name, (_, field, _) in GOOD.items()} == {
        name: value for name, (_, _, value) in GOOD.items()
    }


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_bad_value_is_named_with_what_is_allowed(name, text):
    with pytest.raises(ValueError, match=re.escape(f"{name} is {text!r}; allowed: ")) as error:
        read_settings({"VALM_FEEDBACK": "x.db", name: text})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["ann", ":secret", "ann:", "ann:secret,ann:other", ","])
def test_a_password_is_not_repeated(text):
    with pytest.raises(ValueError, match="VALM_AUTH") as error:
        read_settings({"VALM_AUTH": text})
    assert "secret" not in str(error.value)
    assert "secret" not in repr(read_settings({"VALM_AUTH": "ann:secret"}))


def test_a_slip_in_a_name_is_told_and_what_others_set_is_not():
    with pytest.raises(ValueError, match=r"VALM_AUHT is no setting\. Did you mean VALM_AUTH"):
        read_settings({"VALM_AUHT": "ann:b"})  # else the page would be open to everybody
    with pytest.raises(ValueError, match=r"GRADIO_SEVER_NAME is no setting\. Did you mean GRADIO_SERVER_NAME"):
        read_settings({"GRADIO_" + "SEVER_NAME": "0.0.0.0"})
    of_gradio_alone = ("NODE_SERVER_NAME", "NODE_SERVER_PORT", "SHARE", "SSR_MODE")
    assert read_settings({f"GRADIO_{name}": "1" for name in of_gradio_alone}) == Settings()
    kubernetes = {"VALM_PORT": "tcp://10.0.0.1:7860", "VALM_SERVICE_HOST": "10.0.0.1"}  # beside a service "valm"
    assert read_settings(kubernetes | {"VALM_BROWSER_CHECKPOINT": "x"}) == Settings()


def test_a_folder_to_compare_with_holds_a_model(tmp_path):
    with pytest.raises(ValueError, match="VALM_COMPARE"):
        read_settings({"VALM_COMPARE": f"mine={tmp_path}"})
    (tmp_path / "config.json").write_text("{}")
    assert read_settings({"VALM_COMPARE": f"mine={tmp_path}"}).compare == {"mine": str(tmp_path)}


def test_beside_the_answering_model_no_gpu_is_lent(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert device_beside() == "auto"
    monkeypatch.setenv("SPACES_ZERO_GPU", "1")
    assert device_beside() == "cpu"
    asked = []
    monkeypatch.setattr(Captioner, "from_checkpoint", lambda checkpoint, device: asked.append(device))
    load_captioner("mine")
    assert asked == ["cpu"]


def test_a_checkpoint_named_on_the_command_line_is_the_pages(monkeypatch, environment):
    served = []
    monkeypatch.setattr(serve, "serve", lambda settings, *rest: served.append(settings.checkpoint))
    serve.main(["--checkpoint", "mine/checkpoint"])
    serve.main([])
    assert served[0] == "mine/checkpoint" and served[1] != "mine/checkpoint"


def test_a_dataset_needs_a_database():
    with pytest.raises(ValueError, match="VALM_FEEDBACK_REPO is set, but not VALM_FEEDBACK"):
        read_settings({"VALM_FEEDBACK_REPO": "me/corrections"})


def test_the_checkpoint_alone_can_be_asked_for(environment):
    assert (Path(checkpoint_folder()) / "config.json").is_file()
    environment |= {"VALM_CHECKPOINT": "me/model", "VALM_MCP": "perhaps"}  # the terminal has no use for the latter
    assert checkpoint_folder() == "me/model"


def test_folders_that_cannot_be_written_are_found_at_the_start(tmp_path):
    (tmp_path / "file").write_text("no database at all")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:  # of another program
        other.execute("CREATE TABLE photos (name TEXT)")
    for wrong, message in [
        ({"temp_dir": str(tmp_path / "file" / "x")}, "GRADIO_TEMP_DIR: the folder .* can't be written"),
        ({"feedback": str(tmp_path / "file" / "x.db")}, "VALM_FEEDBACK: the folder .* can't be written"),
        ({"feedback": str(tmp_path)}, "VALM_FEEDBACK is .*, a folder"),
        ({"feedback": str(tmp_path / "file")}, "no database of corrections"),
        ({"feedback": str(tmp_path / "other.db")}, "no database of corrections"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_places(Settings(**wrong))
    check_places(Settings(temp_dir=str(tmp_path / "a" / "b"), feedback=str(tmp_path / "c" / "x.db")))
    assert list((tmp_path / "a" / "b").iterdir()) == list((tmp_path / "c").iterdir()) == []


def test_what_is_not_for_visitors_lies_outside_of_their_uploads(tmp_path):
    disk = tmp_path / "disk"
    for places, message in [
        ({"temp_dir": disk, "feedback": disk / "corrections.db"}, "VALM_FEEDBACK is .* can be downloaded by visitors"),
        ({"temp_dir": disk, "collection": disk}, "VALM_COLLECTION is .* can be downloaded"),
        ({"temp_dir": disk, "collection": "photos", "collection_index": disk / "a" / ".." / "index"}, "_INDEX is"),
        ({"temp_dir": disk / "uploads", "collection": disk}, "could find the others' uploads"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_places(Settings(**{name: str(place) for name, place in places.items()}))
    check_places(Settings(temp_dir=str(disk / "uploads"), feedback=str(disk / "corrections.db")))


def test_a_port_in_use_is_told_where_it_was_set_and_passed_over_where_not(monkeypatch):
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        with pytest.raises(ValueError, match=f"GRADIO_SERVER_PORT is {port}, which is in use"):
            free_port(Settings(server_port=port))
        monkeypatch.setattr(start_up, "FIRST_PORT", port)
        assert port < free_port(Settings()) < port + start_up.PORTS_TRIED
        monkeypatch.setattr(start_up, "PORTS_TRIED", 1)
        with pytest.raises(ValueError, match="all in use"):
            free_port(Settings())
    assert free_port(Settings(server_port=port)) == port


@pytest.mark.parametrize("name", ["192.0.2.1", "no-such-machine.invalid", "a" * 300])
def test_an_address_of_no_interface_is_told(name):
    with pytest.raises(ValueError, match=r"GRADIO_SERVER_NAME is .* no address of this machine"):
        free_port(Settings(server_name=name))


def test_an_ipv6_address_gets_its_brackets():
    assert bind_address("::1") == "[::1]" and bind_address("127.0.0.1") == "127.0.0.1"


def test_this_machine_is_reached_without_proxies(environment):
    environment |= {"https_proxy": "http://127.0.0.1:9", "NO_PROXY": "example.org", "no_proxy": "localhost"}
    keep_proxies_out("192.168.1.5")
    assert environment["no_proxy"] == environment["NO_PROXY"]
    assert environment["no_proxy"].split(",") == ["localhost", "example.org", "127.0.0.1", "::1", "192.168.1.5"]


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_every_spelling_of_a_proxy_counts(environment, name):
    import httpx

    environment[name] = "http://127.0.0.1:9"
    keep_proxies_out("::1")
    with httpx.Client() as client:
        for host in ("127.0.0.1", "localhost", "[::1]"):
            assert client._transport_for_url(httpx.URL(f"http://{host}:1/")) is client._transport
        elsewhere = "http" if name.lower() == "http_proxy" else "https"
        assert client._transport_for_url(httpx.URL(f"{elsewhere}://example.org/")) is not client._transport


def test_without_proxies_the_system_is_still_asked_for_its_own(environment):
    keep_proxies_out("127.0.0.1")
    assert "no_proxy" not in environment and "NO_PROXY" not in environment


def test_a_socks_proxy_without_its_package_is_passed_over(environment, monkeypatch, capsys):
    monkeypatch.setattr(start_up, "find_spec", lambda name: None)
    environment |= {"all_proxy": "socks5://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    keep_proxies_out("127.0.0.1")
    assert "all_proxy" not in environment and environment["http_proxy"]
    assert "all_proxy is passed over" in capsys.readouterr().err
    monkeypatch.setattr(start_up, "find_spec", lambda name: object())
    environment["all_proxy"] = "socks5://127.0.0.1:9"
    keep_proxies_out("127.0.0.1")
    assert environment["all_proxy"] == "socks5://127.0.0.1:9"


def test_what_others_read_is_set_before_they_are_loaded(environment):
    environment["GRADIO_SERVER_NAME"] = "::1"
    prepare_environment(Settings(server_name="::1"))
    assert "GRADIO_SERVER_NAME" not in environment, "gradio would try to bind it as IPv4"
    assert environment["GRADIO_ANALYTICS_ENABLED"] == "False" and environment["FORWARDED_ALLOW_IPS"] == ""


def test_the_table_in_the_documentation_is_made_from_the_settings(tmp_path, capsys):
    page = (ROOT / "docs" / "hosting.md").read_text(encoding="utf-8")
    assert settings_table() in page and all(f"| `{name}` |" in page for name in VARIABLES)
    copy = tmp_path / "hosting.md"
    copy.write_text(page.replace("7860", "1"), encoding="utf-8")
    main([str(copy)])
    assert settings_table() in copy.read_text(encoding="utf-8")
    copy.write_text("no markers", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main([str(copy)])
    assert stopped.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_no_other_module_reads_settings_out_of_the_environment():
    """Named are those that set a variable for a program that they start, or for gradio."""
    sets = {
        "demo/server/shutdown.py": {"GRADIO_TEMP_DIR"},
        "demo/server/start_up.py": {
            *("GRADIO_ANALYTICS_ENABLED", "GRADIO_SERVER_NAME"),
            # what it calls places that can't be written, or lie where they may not
            *("GRADIO_TEMP_DIR", "VALM_FEEDBACK", "VALM_COLLECTION", "VALM_COLLECTION_INDEX"),
        },
        "demo/terminal/page_speed.py": {"GRADIO_SERVER_PORT", "GRADIO_ANALYTICS_ENABLED"},
        "hosting/starting.py": {"VALM_", "GRADIO_", "GRADIO_SERVER_PORT"},
    }
    found = {}
    for path in sources():
        text = path.read_text(encoding="utf-8")
        names = set(re.findall(r"""["']((?:VALM|GRADIO)_[A-Z_]*)["']""", text))
        if names and re.search(r"\benviron\b|\bgetenv\b", text):
            found[path.relative_to(ROOT).as_posix()] = names
    assert found.pop("demo/settings.py") >= set(VARIABLES)
    assert found == sets


def test_every_variable_that_is_written_about_is_a_setting():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "Dockerfile", *sources()]
    for path in pages:
        named = set(re.findall(r"\b(?:VALM|GRADIO)_[A-Z]+(?:_[A-Z]+)*\b", path.read_text(encoding="utf-8")))
        assert named - {"GRADIO_CACHE"} <= VARIABLES.keys(), path  # the former is an attribute of gradio's components
