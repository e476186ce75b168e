"""A small server in a process of its own that speaks as MONAILabel does, and fails as servers do.

Comes in: a way to log in (`none`, `token`, `password`, `basic`) and how to answer (`well`, `error`, `slow`, `junk`,
`redirect`). Goes out: its port on the first line of standard output. It is used for logins and failures; masks are
tested with the project's real annotation server.
"""

import base64
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOGIN, ANSWER = sys.argv[1:]
GOOD = {"token": "Bearer good-token", "password": "Bearer made-for-ann", "none": None}
GOOD["basic"] = "Basic " + base64.b64encode(b"ann:secret").decode()
INFO = {"name": "small", "version": "0.8.5", "models": {"nodule": {"labels": {"nodule": 1}}}}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: PLR0911 - one for each answer
        if self.path == "/auth/":
            if LOGIN in {"basic", "none"}:
                return self.answer(404, b"{}")
            return self.answer(200, json.dumps({"enabled": True}).encode())
        if not self.allowed():
            return None
        if ANSWER == "error":
            return self.answer(500, b'{"detail": "no space left"}')
        if ANSWER == "junk":
            return self.answer(200, b"<html>hello</html>")
        if ANSWER == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2:9/steal")
            return self.end_headers()
        if ANSWER == "slow":
            time.sleep(60)
        return self.answer(200, json.dumps(INFO).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/auth/token":
            good = b"username=ann" in body and b"password=secret" in body
            # MONAILabel 0.8 passes the provider's refusal on as an error of its own.
            return self.answer(200, b'{"access_token": "made-for-ann"}') if good else self.answer(500, b"{}")
        if self.allowed():
            self.answer(500, b'{"detail": "out of memory"}')
        return None

    def allowed(self):
        if GOOD[LOGIN] in {None, self.headers.get("Authorization")}:
            return True
        self.answer(401, b"{}")
        return False

    def answer(self, code, content):
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
