"""A real schema registry with Confluent's API: Apicurio Registry, on loopback, in memory.

    with Registry(folder) as registry:
        registry.register("payments-value", schema)

`url` is what clients are given as `schema.registry.url`. Compatibility is NONE for all subjects, and stays so: here a subject
cannot be laxer than the whole, only stricter. `set_compatibility` makes it so. A killed registry comes back empty; `pause` is
the outage that forgets nothing.
"""

import json
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import programs
from children import Child, Guard
from cluster import free_port

READY_S = 90
CALL_S = 20
JAVA_OPTIONS = ("-Xms32m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class Refused(Exception):
    """What the registry answers with a status of 400 or more."""

    def __init__(self, status, answer):
        super().__init__(f"{status}: {answer}")
        self.status = status


class Registry(Child):
    """Runs while its block does."""

    def __init__(self, folder):
        super().__init__("schema registry", Path(folder) / "registry", ready="Listening on:")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def __enter__(self):
        programs.require()
        (jar,) = (programs.fetched() / "registry").glob("*-runner.jar")
        listen = (f"-Dquarkus.http.port={self.port}", "-Dquarkus.http.host=127.0.0.1")
        self.folder.mkdir(parents=True)
        with ExitStack() as undo:
            self.adopt(undo.enter_context(Guard()), [programs.java(), *JAVA_OPTIONS, *listen, "-jar", jar])
            self.start()
            self.wait_ready(READY_S)
            self.undo = undo.pop_all()
        print(f"kafka: {self.name} ready {self.ready_s:.1f} s after its start", flush=True)
        return self

    def __exit__(self, *_):
        self.undo.close()

    def register(self, subject, schema, kind="AVRO", references=()):
        """The schema's id; `schema` is its text, or an object that is written as JSON."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        body = {"schema": text, "schemaType": kind, "references": list(references)}
        return self.call("POST", f"/subjects/{subject}/versions", body)["id"]

    def schema(self, schema_id):
        """Its text and its references."""
        answer = self.call("GET", f"/schemas/ids/{schema_id}")
        return answer["schema"], answer["references"]

    def latest(self, subject):
        """With `id`, `version`, `schema`, and `schemaType` unless it is Avro."""
        return self.call("GET", f"/subjects/{subject}/versions/latest")

    def set_compatibility(self, subject, level):
        self.call("PUT", f"/config/{subject}", {"compatibility": level})

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, data=body and json.dumps(body).encode())
        request.add_header("content-type", "application/vnd.schemaregistry.v1+json")
        try:
            with urllib.request.urlopen(request, timeout=CALL_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, error.read().decode(errors="replace"))
