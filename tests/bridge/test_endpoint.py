"""A network behind HTTP: what is sent and read, and what happens when the server is not well."""

import io
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

import seewhy as sw
from seewhy.errors import MethodError, ModelError
from seewhy.model.bridge import endpoint
from seewhy.model.bridge.endpoint import Endpoint, load_endpoint

WEIGHTS = np.zeros((2, 3, 8, 8), np.float32)
WEIGHTS[0, :, 2:4, 2:4] = 1  # the first class is what is bright there, the second the opposite
WEIGHTS[1] = -WEIGHTS[0]


def scores_of(pictures):
    return np.einsum("nchw,kchw->nk", np.asarray(pictures, np.float32), WEIGHTS)


class Server(ThreadingHTTPServer):
    """Answers with the scores; `script` holds what to do with the next requests instead."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.requests, self.stopped = [], [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1/models/bright:predict"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        size = int(self.headers["Content-Length"])
        assert size < 1 << 22
        body = self.rfile.read(size)
        self.server.requests.append((dict(self.headers), body))
        step = self.server.script.pop(0) if self.server.script else None
        if callable(step):
            step(self)
        elif step is not None:
            status, content, headers = step
            self.give(content, status, headers)
        elif self.headers["Content-Type"] == "application/json":
            rows = np.array(json.loads(body)["instances"])
            if rows.shape[1] != 3:
                rows = np.moveaxis(rows, -1, 1)
            self.give(json.dumps({"predictions": scores_of(rows).tolist()}).encode())
        else:
            with np.load(io.BytesIO(body), allow_pickle=False) as sent:
                self.give(npz(scores=scores_of(sent["pictures"])))

    def give(self, content, status=200, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.stopped.set()
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited between attempts, without waiting."""
    found = []
    monkeypatch.setattr(endpoint.time, "sleep", found.append)
    return found


@pytest.fixture
def pictures():
    return torch.randn(5, 3, 8, 8)


def says(server, content, **settings):
    """The error to an answer with this content."""
    server.script = [(200, content, {})]
    with pytest.raises(ModelError) as error:
        Endpoint(server.url, **settings)(torch.zeros(2, 3, 8, 8))
    return str(error.value)


@pytest.mark.parametrize("form", ["json", "npz"])
def test_scores_are_those_of_the_server(server, pictures, form):
    scores = Endpoint(server.url, form=form)(pictures)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, torch.from_numpy(scores_of(pictures)))
    assert len(server.requests) == 1


def test_channels_last_is_what_the_server_gets(server, pictures):
    scores = Endpoint(server.url, layout="channels-last")(pictures)
    sent = np.array(json.loads(server.requests[0][1])["instances"], np.float32)
    assert np.array_equal(sent, pictures.permute(0, 2, 3, 1).numpy())
    torch.testing.assert_close(scores, torch.from_numpy(scores_of(pictures)))


@pytest.mark.parametrize("key", ["predictions", "outputs", "scores", "logits", None])
def test_answers_come_under_several_names_or_bare(server, key):
    rows = [[1.0, 2.0], [3.0, 4.0]]
    server.script = [(200, json.dumps({key: rows} if key else rows).encode(), {})]
    assert Endpoint(server.url)(torch.zeros(2, 3, 8, 8)).tolist() == rows


def test_headers_are_sent_and_not_shown(server, pictures):
    asked = Endpoint(server.url + "?key=hidden", headers={"Authorization": "Bearer hidden"})
    asked(pictures)
    assert server.requests[0][0]["Authorization"] == "Bearer hidden"
    assert "Bearer" not in repr(asked)
    server.script = [(403, b"no", {})]
    with pytest.raises(ModelError) as error:
        asked(pictures)
    assert "hidden" not in str(error.value)


def test_it_asks_again_after_two_503s_and_waits_longer_each_time(server, pictures, waits):
    server.script = [(503, b"", {}), (503, b"", {})]
    torch.testing.assert_close(
        Endpoint(server.url)(pictures), torch.from_numpy(scores_of(pictures))
    )
    assert waits == [0.5, 1.0]
    bodies = {body for _, body in server.requests}
    assert len(server.requests) == 3
    assert len(bodies) == 1


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("86400", 60.0), ("tomorrow", 0.5)])
def test_retry_after_is_honoured_up_to_a_minute(server, pictures, waits, asked, waited):
    server.script = [(429, b"", {"Retry-After": asked})]
    Endpoint(server.url)(pictures)
    assert waits == [waited]


def test_attempts_end(server, pictures, waits):
    server.script = [(500, b"", {})] * 9
    with pytest.raises(ModelError, match=r"status 500\) after 3 attempts"):
        Endpoint(server.url, retries=2)(pictures)
    assert len(server.requests) == 3


def test_a_refused_connection_is_tried_again(pictures, waits, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    gone = Server()
    gone.server_close()
    with pytest.raises(ModelError, match="after 2 attempts"):
        Endpoint(gone.url, retries=1)(pictures)
    assert waits == [0.5]


def test_an_answer_that_breaks_off_is_asked_for_again(server, pictures, waits):
    def half(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"predictions": [[1')

    server.script = [half]
    torch.testing.assert_close(
        Endpoint(server.url)(pictures), torch.from_numpy(scores_of(pictures))
    )
    assert waits == [0.5]


def test_400_is_not_tried_again_and_its_reason_is_told(server, pictures, waits):
    server.script = [(400, b"instances must be 224 x 224" + b"!" * 5000, {})]
    with pytest.raises(ModelError, match="status 400: 'instances must be 224 x 224") as error:
        Endpoint(server.url)(pictures)
    assert len(server.requests) == 1
    assert len(str(error.value)) < 700
    assert waits == []


def test_a_redirection_is_not_followed(server, pictures):
    server.script = [(302, b"", {"Location": "http://elsewhere.invalid/"})]
    with pytest.raises(ModelError, match=r"moved \(302\) to http://elsewhere\.invalid/"):
        Endpoint(server.url)(pictures)


def test_a_server_that_says_nothing_is_given_up(server, pictures):
    server.script = [lambda handler: handler.server.stopped.wait(20)]
    with pytest.raises(ModelError, match="timed out"):
        Endpoint(server.url, timeout=0.2, retries=0)(pictures)


def test_a_server_that_trickles_is_given_up(server, pictures):
    def trickle(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(400):
            if handler.server.stopped.wait(0.05):
                return
            handler.wfile.write(b" ")

    server.script = [trickle]
    with pytest.raises(ModelError, match=r"not complete after 0\.3 s"):
        Endpoint(server.url, timeout=0.3, retries=0)(pictures)


def test_an_answer_that_does_not_end_is_refused_while_it_is_read(server, pictures):
    sent = []

    def flood(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(b"[" * 100_000)
                sent.append(100_000)
        except OSError:
            pass
        handler.server.stopped.wait(0.01)

    server.script = [flood]
    with pytest.raises(ModelError, match=r"more than 0\.1 MB"):
        Endpoint(server.url, limit_mb=0.1)(pictures)
    assert sum(sent) < 50_000_000


def test_an_announced_oversize_is_refused_before_it_is_read(server, pictures):
    def announce(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        handler.server.stopped.wait(20)  # a reader would wait for what never comes

    server.script = [announce]
    with pytest.raises(ModelError, match="more than 16 MB"):
        Endpoint(server.url, timeout=10)(pictures)


def test_an_answer_that_unpacks_too_large_is_refused(server):
    file = io.BytesIO()
    np.savez_compressed(file, scores=np.zeros((2, 1_000_000), np.float32))
    assert len(file.getvalue()) < 100_000
    assert "8 MB when unpacked" in says(server, file.getvalue(), form="npz", limit_mb=0.1)


@pytest.mark.parametrize(("form", "limit", "parts"), [("json", 0.009, 3), ("npz", 0.0022, 3)])
def test_a_large_batch_is_sent_in_parts_with_the_same_scores(server, pictures, form, limit, parts):
    whole = Endpoint(server.url, form=form)(pictures)
    server.requests.clear()
    split = Endpoint(server.url, form=form, limit_mb=limit)(pictures)
    torch.testing.assert_close(split, whole)
    assert len(server.requests) >= parts
    assert all(len(body) <= limit * 1e6 for _, body in server.requests)


def test_one_picture_above_the_limit_is_an_error(server, pictures):
    with pytest.raises(ModelError, match=r"one picture of shape \(3, 8, 8\).*limit_mb is 0.001"):
        Endpoint(server.url, limit_mb=0.001)(pictures)
    assert server.requests == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>hello", "gave no JSON .'<html>hello'"),
        (b"", "gave no JSON .nothing"),
        (b'{"error": "shape"}', "one of predictions, outputs"),
        (b'{"predictions": [[1, 2]]}', "for 2 pictures: one row"),
        (b'{"predictions": [[1, 2], [3]]}', "rows of equal length"),
        (b'{"predictions": [["1", "2"], ["3", "4"]]}', "gave no numbers"),
        (b'{"predictions": [[1, null], [3, 4]]}', "gave no numbers"),
        (b'{"predictions": [[true, false], [true, true]]}', "gave no numbers"),
        (b'{"predictions": [[1, NaN], [3, 4]]}', "NaN or infinity"),
        (b'{"predictions": [[[1], [2]], [[3], [4]]]}', "shape .2, 2, 1. for 2 pictures"),
        (b'{"predictions": [[], []]}', "for 2 pictures"),
        (b"[" * 100_000, "gave no JSON"),
    ],
)
def test_an_answer_that_is_no_table_of_scores_is_an_error(server, content, said):
    assert re.search(said, says(server, content))


def test_an_npz_answer_holds_numbers_only(server):
    assert "no readable npz" in says(server, b"PK nonsense", form="npz")
    assert "no readable npz" in says(server, npz(), form="npz")
    harmful = npz(scores=np.array([{"a": 1}, {"a": 2}], dtype=object))  # read only by unpickling
    assert "no readable npz" in says(server, harmful, form="npz")


def test_nan_in_a_picture_is_an_error_before_anything_is_sent(server):
    with pytest.raises(ModelError, match="pictures hold NaN"):
        Endpoint(server.url)(torch.full((1, 3, 8, 8), torch.nan))
    assert server.requests == []


def test_an_interrupt_passes(server, pictures, monkeypatch):
    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(endpoint.time, "sleep", interrupted)
    server.script = [(503, b"", {})]
    with pytest.raises(KeyboardInterrupt):
        Endpoint(server.url)(pictures)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "ftp://host/model"},
        {"url": "host/model"},
        {"url": "http://me:word@host/model"},
        {"form": "xml"},
        {"layout": "last"},
        {"timeout": 0},
        {"limit_mb": float("inf")},
        {"retries": -1},
    ],
)
def test_settings_that_cannot_be_are_errors(settings):
    with pytest.raises(ModelError) as error:
        Endpoint(**{"url": "http://host/model", **settings})
    assert "word" not in str(error.value).replace("password", "")


@pytest.mark.parametrize("form", ["json", "npz"])
def test_occlusion_finds_what_the_server_looks_at(server, form):
    model = load_endpoint(
        server.url, form=form, labels=["bright", "dark"], preprocess=sw.Preprocess(8)
    )
    why = sw.explain(model, torch.ones(1, 3, 8, 8), "bright", "occlusion:patch=2,stride=2")
    relevance = why[0].relevance.sum(0)
    looked = torch.zeros(8, 8, dtype=torch.bool)
    looked[2:4, 2:4] = True
    assert relevance.shape == (8, 8)
    assert relevance[looked].min() > 0
    assert relevance[~looked].abs().max() < 1e-5 * relevance.max()
    assert model.offers.gradient is model.offers.layers is False


def test_a_method_with_gradients_says_that_it_does_not_apply(server):
    with pytest.raises(MethodError, match="needs gradient"):
        sw.explain(load_endpoint(server.url), torch.ones(1, 3, 8, 8), 0, "gradient")
    assert server.requests == []
