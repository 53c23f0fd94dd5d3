"""nginx: what passing bytes on costs at least. It knows nothing of reranking."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.peers.peer import Peer, debian

# Connections to workers are kept only with HTTP/1.1 and an empty Connection header (ngx_http_upstream_module,
# `keepalive`); clients' own would be closed after 1000 requests; bodies and answers that outgrow their buffers would go
# through files.
_CONFIGURATION = """\
user root;
worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_max_body_size 64m;
    client_body_buffer_size 2m;
    proxy_buffers 64 64k;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream workers {{
        least_conn;
        {servers}
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://workers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


def _command(workers: Sequence[str], port: int, directory: Path) -> Sequence[str]:
    servers = "\n        ".join(f"server {worker.removeprefix('http://')};" for worker in workers)
    written = directory / "nginx.conf"
    written.write_text(_CONFIGURATION.format(servers=servers, port=port))
    return ("nginx", "-p", str(directory), "-c", str(written), "-e", "stderr")


NGINX = Peer(
    name="nginx",
    version=partial(debian, "nginx"),
    command=_command,
    remark="passes bytes on: the limit of what a proxy can save",
)
