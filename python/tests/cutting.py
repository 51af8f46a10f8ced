"""A proxy in front of a hub, whose first long answer breaks off in the middle."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Cutting(ThreadingHTTPServer):
    """Answers longer than `after` bytes break off there, once; `ranges` are those that were asked for."""

    def __init__(self, hub, after):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub, self.after = urlsplit(hub).netloc, after
        self.ranges = []
        self.is_cut = False
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        proxy = self.server
        hub = http.client.HTTPConnection(proxy.hub)
        hub.request(self.command, self.path, headers=dict(self.headers))
        answer = hub.getresponse()
        body = answer.read()
        if self.headers["Range"]:
            proxy.ranges.append((self.headers["Range"], answer.status))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        if len(body) > proxy.after and not proxy.is_cut:
            proxy.is_cut = True
            body = body[: proxy.after]
            self.close_connection = True
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass
