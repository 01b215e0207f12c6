"""A real PgBouncer in transaction mode before a PostgreSQL: each transaction may get another server connection."""

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.end_to_end.serving import free_port, until_listening

USER = "pgserver"  # PgBouncer does not run as root, and this one may use the server's socket
CONFIG = """
[databases]
* = host={socket} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
server_round_robin = 1
"""


@asynccontextmanager
async def pooling(database_url: str, *, connections: int = 3) -> AsyncIterator[str]:
    """The same database through the pooler. So few connections, in turn, that a client hardly gets one twice."""
    url, port = make_url(database_url), free_port()
    with tempfile.TemporaryDirectory(prefix="bridge-pooler-") as folder:
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(CONFIG.format(socket=url.query["host"], port=port, connections=connections))
        os.chown(folder, pwd.getpwnam(USER).pw_uid, -1)
        command = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        process = await asyncio.create_subprocess_exec(command, "--quiet", "--user", USER, str(config))
        try:
            await until_listening(process, port)
            yield f"postgresql://postgres@127.0.0.1:{port}/{url.database}"
        finally:
            process.terminate()
            await process.wait()
