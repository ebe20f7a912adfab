"""A reverse proxy with a password, as small as one can be: it passes bytes on, both ways."""

import base64
import socket
import socketserver
import threading

PASSWORD = "Basic " + base64.b64encode(b"me:secret").decode()
"""The header that a browser sends after it has asked for the name and the password."""


class ReverseProxy(socketserver.ThreadingTCPServer):
    """Listens on a free port; only who gives the password reaches the app behind it."""

    daemon_threads = True

    def __init__(self, app_port):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.app_port = app_port
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(socketserver.BaseRequestHandler):
    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head and (data := self.request.recv(65536)):
            head += data
        if f"Authorization: {PASSWORD}\r\n".encode() not in head:
            self.request.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            return
        if b"Upgrade: websocket" not in head:  # else another request could follow unchecked
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        with socket.create_connection(("127.0.0.1", self.server.app_port)) as app:
            app.sendall(head)
            back = threading.Thread(target=_pass_on, args=(app, self.request), daemon=True)
            back.start()
            _pass_on(self.request, app)
            back.join()


def _pass_on(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # one of the two has left
        pass
