#!/usr/bin/python3
"""A container of its own making that does one thing after the other, and whose health goes when a request says so."""

import http.server
import os
import time

SICK = False


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(503 if SICK else 200, b"")

    def do_POST(self):
        global SICK
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if asked.startswith("sleep "):
            time.sleep(float(asked[6:]))
        SICK = SICK or asked == "sicken"
        if asked == "break":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            return
        self.answer(200, str(os.getpid()).encode() + b" " + os.environ["STARTED"].encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


os.environ["STARTED"] = str(time.time_ns())
http.server.HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
