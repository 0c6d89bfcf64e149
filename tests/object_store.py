"""The servers of tests/object_store.sh, and what is asked of them.

`servers FOLDER` starts moto's S3 server and two web servers over FOLDER/web, one that gives parts
of files and one that does not. `check BINARY FOLDER RANGED PLAIN` runs jobs and compares.
"""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path


class Plain(http.server.SimpleHTTPRequestHandler):
    """The standard library's handler: it knows no ranges."""

    def log_message(self, *_):
        pass


class Ranged(Plain):
    """It with single ranges."""

    protocol_version = "HTTP/1.1"

    def send_head(self):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if not asked or not path.is_file():
            return super().send_head()
        size = path.stat().st_size
        first, last = int(asked[1]), min(int(asked[2]), size - 1)
        file = path.open("rb")
        file.seek(first)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.left = last - first + 1
        return file

    def copyfile(self, source, target):
        left = getattr(self, "left", None)
        target.write(source.read() if left is None else source.read(left))
        self.left = None


def servers(folder):
    from moto.server import ThreadedMotoServer

    web = folder / "web"
    web.mkdir(exist_ok=True)
    s3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3.start()
    host, port = s3.get_host_and_port()
    print(f"s3=http://{host}:{port} ", flush=True)
    for name, handler in [("ranged", Ranged), ("plain", Plain)]:
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *a, kind=handler: kind(*a, directory=web)
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"{name}=http://127.0.0.1:{server.server_port} ", flush=True)
    threading.Event().wait()


class Check:
    def __init__(self, binary, folder, ranged, plain):
        import boto3
        import duckdb

        self.binary, self.folder = binary, folder
        self.ranged, self.plain = ranged, plain
        self.s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        self.s3.create_bucket(Bucket="lake")
        self.duck = duckdb.connect()
        self.said = folder / "said.log"
        self.count = 0

    def sql(self, query):
        return self.duck.execute(query).fetchall()

    def make_inputs(self):
        """Three tables of the same 60,000 rows a file, and one object over several requests."""
        local = self.folder / "local"
        local.mkdir()
        for number in range(3):
            rows = (
                f"select i, i % 7 as k, 'name ' || i as name, i / 4 as x "
                f"from range({number * 60_000}, {(number + 1) * 60_000}) t(i)"
            )
            self.sql(f"copy ({rows}) to '{local}/n{number}.csv' (header)")
            self.sql(f"copy ({rows}) to '{local}/n{number}.jsonl' (format json)")
            self.sql(f"copy ({rows}) to '{local}/n{number}.parquet' (format parquet)")
        rows = "select i, i % 7 as k, repeat('x', 90) as name, i / 4 as x from range(120_000) t(i)"
        self.sql(f"copy ({rows}) to '{local}/large.csv' (header)")
        for path in local.iterdir():
            self.s3.upload_file(str(path), "lake", f"in/{path.name}")
            (self.folder / "web" / path.name).write_bytes(path.read_bytes())
        self.s3.put_object(Bucket="lake", Key="in/_hidden.csv", Body=b"no,such\n1,2\n")
        for k in range(2):
            self.s3.put_object(Bucket="lake", Key=f"hive/k={k}/a.csv", Body=f"n\n{k}0\n".encode())

    def tell(self, arguments, done):
        with self.said.open("a") as said:
            said.write(f"{arguments}\n{done.stdout}{done.stderr}\n")

    def run(self, job, on_cluster, fails_with=None):
        """Runs a job, or says what it should have said."""
        self.count += 1
        path = self.folder / f"job{self.count}.json"
        path.write_text(json.dumps(job))
        verb = ["submit", str(path), "--wait"] if on_cluster else [
            "run", str(path), "--output-dir", str(self.folder / "run"), "--explain"
        ]
        done = subprocess.run([self.binary, *verb], capture_output=True, text=True, timeout=300)
        self.tell(verb, done)
        text = done.stdout + done.stderr
        if fails_with is None:
            assert done.returncode == 0, f"{verb}: {text}"
        else:
            assert done.returncode != 0 and fails_with in text, f"{verb}: {text}"
        return text

    def keys(self, prefix):
        found = self.s3.list_objects_v2(Bucket="lake", Prefix=prefix)
        return sorted(entry["Key"] for entry in found.get("Contents", []))

    def fetched(self, prefix):
        """The rows of the Parquet files that a manifest lists, as DuckDB reads them."""
        body = self.s3.get_object(Bucket="lake", Key=f"{prefix}/_manifest.json")["Body"].read()
        manifest = json.loads(body)
        folder = self.folder / "fetched" / str(self.count)
        folder.mkdir(parents=True, exist_ok=True)
        for number, file in enumerate(manifest["files"]):
            target = folder / f"{number}.parquet"
            self.s3.download_file("lake", f"{prefix}/{file['path']}", str(target))
        listed = {f"{prefix}/{file['path']}" for file in manifest["files"]}
        others = [key for key in self.keys(f"{prefix}/") if key not in listed]
        assert others == [f"{prefix}/_manifest.json"], others
        return folder

    @staticmethod
    def job(read, target, mode=None):
        write = {"id": "out", "op": "write_parquet", "path": target}
        if mode:
            write["mode"] = mode
        total = {
            "id": "total",
            "op": "reduce_by_key",
            "key": ["k"],
            "aggs": {"n": "count(*)", "s": "sum(i)", "longest": "max(name)"},
        }
        return {
            "name": "stores",
            "dag": {
                "nodes": [{"id": "in", **read}, total, write],
                "edges": [["in", "total"], ["total", "out"]],
            },
        }

    def compare(self, read, local, on_cluster):
        target = f"out/{'c' if on_cluster else 'r'}{self.count}"
        self.run(self.job(read, f"s3://lake/{target}"), on_cluster)
        found = self.fetched(target)
        columns = "k, n, s, longest"
        ours = self.sql(f"select {columns} from read_parquet('{found}/*.parquet') order by k")
        query = "select k, count(*) n, sum(i) s, max(name) longest"
        theirs = self.sql(f"{query} from {local} group by k order by k")
        assert ours == theirs, f"{read}: {ours} and not {theirs}"

    def all(self):
        self.make_inputs()
        local = self.folder / "local"
        columns = {"i": "int64", "k": "int64", "name": "string", "x": "float64"}
        csv = {"op": "read_csv", "header": True, "columns": columns}
        jsonl = {"op": "read_jsonl", "columns": columns}
        parquet = {"op": "read_parquet"}
        lake = "s3://lake/in"
        for on_cluster in [False, True]:
            for read, files in [
                ({**csv, "path": f"{lake}/n*.csv"}, f"read_csv('{local}/n*.csv')"),
                ({**csv, "path": f"{lake}/large.csv"}, f"read_csv('{local}/large.csv')"),
                ({**jsonl, "path": f"{lake}/n?.jsonl"}, f"read_json('{local}/n*.jsonl')"),
                ({**parquet, "path": f"{lake}/*.parquet"}, f"read_parquet('{local}/*.parquet')"),
                (
                    {**parquet, "path": [f"{lake}/n0.parquet", f"{lake}/n2.parquet"]},
                    f"read_parquet(['{local}/n0.parquet', '{local}/n2.parquet'])",
                ),
                ({**csv, "path": f"{self.ranged}/large.csv"}, f"read_csv('{local}/large.csv')"),
                ({**csv, "path": f"{self.plain}/large.csv"}, f"read_csv('{local}/large.csv')"),
                (
                    {**parquet, "path": f"{self.plain}/n1.parquet"},
                    f"read_parquet('{local}/n1.parquet')",
                ),
            ]:
                self.compare(read, files, on_cluster)
            self.modes({**parquet, "path": f"{lake}/n0.parquet"}, on_cluster)
            self.refusals(parquet, on_cluster)
        assert not [key for key in self.keys("") if ".minispark" in key]
        uploads = self.s3.list_multipart_uploads(Bucket="lake")
        assert not uploads.get("Uploads"), uploads
        self.hive()

    def rows(self, target):
        found = self.fetched(target)
        return self.sql(f"select count(*) from read_parquet('{found}/*.parquet')")[0][0]

    def modes(self, read, on_cluster):
        target = f"modes/{on_cluster}"
        job = lambda mode: self.job(read, f"s3://lake/{target}", mode)
        self.run(job("error"), on_cluster)
        assert self.rows(target) == 7
        self.run(job("error"), on_cluster, fails_with="already exists")
        self.run(job("append"), on_cluster)
        assert self.rows(target) == 14
        # A result is read by its manifest.
        again = {"op": "read_parquet", "path": f"s3://lake/{target}"}
        count = {"id": "n", "op": "reduce_by_key", "key": ["k"], "aggs": {"c": "sum(n)"}}
        text = self.run(
            {
                "name": "again",
                "dag": {"nodes": [{"id": "in", **again}, count], "edges": [["in", "n"]]},
            },
            False,
        )
        assert "7 rows" in text, text
        self.run(job("overwrite"), on_cluster)
        assert self.rows(target) == 7
        self.run(job("overwrite_partitions"), on_cluster, fails_with="overwrite_partitions")
        self.s3.put_object(Bucket="lake", Key="foreign/letter.txt", Body=b"dear")
        foreign = self.job(read, "s3://lake/foreign", "overwrite")
        self.run(foreign, on_cluster, fails_with="was not written by minispark")

    def refusals(self, parquet, on_cluster):
        def refused(path, reason):
            text = self.run(
                self.job({**parquet, "path": path}, "s3://lake/no"), on_cluster, fails_with=reason
            )
            assert "hunter2" not in text, text

        refused("s3://lake/in/none*.parquet", "no object fits")
        refused("s3://lake/in/none.parquet", "no object is below")
        refused("s3://user:hunter2@lake/in/n0.parquet", "credentials come from the environment")
        refused(f"{self.ranged}/n0.parquet?token=hunter2", "may be a secret")
        refused("ftp://host/file", "is not supported")
        if on_cluster:
            refused("http://169.254.169.254/latest/meta-data", "in no store that jobs may read")
            refused("s3://other/x.parquet", "in no store that jobs may read")
            write = self.job({**parquet, "path": "s3://lake/in/n0.parquet"}, "s3://other/x")
            self.run(write, True, fails_with="in no store that jobs may write")
        web = self.job({**parquet, "path": "s3://lake/in/n0.parquet"}, f"{self.plain}/x")
        self.run(web, on_cluster, fails_with="can be read and not written")
        assert not self.keys("no")

    def hive(self):
        read = {"id": "in", "op": "read_csv", "path": "s3://lake/hive", "header": True}
        keep = {"id": "out", "op": "filter", "where": "k = 1"}
        dag = {"nodes": [read, keep], "edges": [["in", "out"]]}
        text = self.run({"name": "hive", "dag": dag}, False)
        assert "10" in text and "1 rows" in text, text


if __name__ == "__main__":
    if sys.argv[1] == "servers":
        servers(Path(sys.argv[2]))
    else:
        Check(sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5]).all()
