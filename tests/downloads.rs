//! Downloads of results: every format, rows and ranges of bytes, cut connections, damaged files.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "a test makes the files that the program reads")]

use std::{
    fs::{self, File},
    io::{Cursor, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::{DataType, Date32Type, Float64Type, Int64Type},
    ipc::reader::{FileReader, StreamReader},
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

#[expect(clippy::allow_attributes, reason = "an expectation fails where a target uses all")]
#[allow(dead_code, reason = "each target uses a part of it")]
mod support;

use support::{
    cluster::{Cluster, Settings},
    files_below,
    http::{self, Answer},
    minispark, names, until,
};

/// Three rows with a quoted text, nulls, and a whole float.
const INPUT: &str = "word,n,share,day\nmar,2,0.5,2026-01-02\n\"a, b\",-1,1.0,\n,7,,2026-03-04\n";

const TEXT: &str = "mar, 2, 0.5, 2026-01-02\na, b, -1, 1, \n, 7, , 2026-03-04\n";

const JSONL: &str = "\
{\"word\":\"mar\",\"n\":2,\"share\":0.5,\"day\":\"2026-01-02\"}
{\"word\":\"a, b\",\"n\":-1,\"share\":1.0,\"day\":null}
{\"word\":null,\"n\":7,\"share\":null,\"day\":\"2026-03-04\"}
";

fn one_worker() -> Cluster {
    Cluster::start(Settings { workers: 1, ..Settings::default() })
}

/// Runs a job of one reader, whose rows are the result `rows`.
fn read(cluster: &Cluster, node: &Value) -> String {
    let document = json!({ "name": "rows", "dag": { "nodes": [node], "edges": [] } });
    let id = cluster.submit(&document.to_string());
    cluster.completed(&id);
    id
}

/// The result `rows` of three rows.
fn three_rows(cluster: &Cluster) -> String {
    let path = cluster.folder.path().join("rows.csv");
    fs::write(&path, INPUT).unwrap();
    read(cluster, &json!({ "id": "rows", "op": "read_csv", "path": path, "header": true }))
}

/// The result `rows` of so many lines, and its bytes.
fn many_lines(cluster: &Cluster, lines: usize) -> (String, Vec<u8>) {
    let path = cluster.folder.path().join("lines.txt");
    let line = |n| format!("line {n} of a result that is not small, {}\n", n * 7919);
    let text = (0..lines).map(line).collect::<Vec<String>>().concat();
    fs::write(&path, &text).unwrap();
    let id = read(cluster, &json!({ "id": "rows", "op": "read_text", "path": path }));
    (id, text.into_bytes())
}

fn route(id: &str, query: &str) -> String {
    format!("/api/v1/jobs/{id}/results/rows{query}")
}

fn get(cluster: &Cluster, path: &str, headers: &[(&str, &str)]) -> Answer {
    http::call(&cluster.rest, "GET", path, headers, b"")
}

fn ok(answer: Answer) -> Answer {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer
}

/// The three rows, by hand.
fn assert_three_rows(batches: &[RecordBatch]) {
    let rows = concat_batches(&batches[0].schema(), batches).unwrap();
    let names: Vec<_> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["word", "n", "share", "day"]);
    assert_eq!(rows.column(0).data_type(), &DataType::Utf8);
    let words: Vec<_> = rows.column(0).as_string::<i32>().iter().collect();
    assert_eq!(words, [Some("mar"), Some("a, b"), None]);
    let numbers: Vec<_> = rows.column(1).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(numbers, [Some(2), Some(-1), Some(7)]);
    let shares: Vec<_> = rows.column(2).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(shares, [Some(0.5), Some(1.0), None]);
    let days: Vec<_> = rows.column(3).as_primitive::<Date32Type>().iter().collect();
    // Days since 1970: 2026-01-01 is day 20454.
    assert_eq!(days, [Some(20_455), None, Some(20_516)]);
}

#[test]
fn each_format_has_the_rows() {
    let cluster = one_worker();
    let id = three_rows(&cluster);
    for (query, expected, media_type, name) in [
        ("", TEXT, "text/plain; charset=utf-8", "txt"),
        ("?format=text", TEXT, "text/plain; charset=utf-8", "txt"),
        ("?format=csv", INPUT, "text/csv; charset=utf-8", "csv"),
        ("?format=jsonl", JSONL, "application/x-ndjson", "jsonl"),
    ] {
        let answer = ok(get(&cluster, &route(&id, query), &[]));
        assert_eq!(answer.text(), expected, "{query}");
        assert_eq!(answer.header("content-type"), Some(media_type));
        let disposition = format!("attachment; filename=\"{id}_rows.{name}\"");
        assert_eq!(answer.header("content-disposition"), Some(&*disposition));
        assert!(answer.header("etag").is_some());
    }
    let by_accept = get(&cluster, &route(&id, ""), &[("accept", "application/x-ndjson")]);
    assert_eq!(ok(by_accept).text(), JSONL);

    let parquet = cluster.folder.path().join("rows.parquet");
    fs::write(&parquet, ok(get(&cluster, &route(&id, "?format=parquet"), &[])).body).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(parquet).unwrap()).unwrap();
    assert_three_rows(&reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>());

    let arrow = ok(get(&cluster, &route(&id, "?format=arrow"), &[])).body;
    let arrow = FileReader::try_new(Cursor::new(arrow), None).unwrap();
    assert_three_rows(&arrow.map(Result::unwrap).collect::<Vec<_>>());

    let accept = [("accept", "application/vnd.apache.arrow.stream")];
    let stream = ok(get(&cluster, &route(&id, "?format=arrow"), &accept)).body;
    let stream = StreamReader::try_new(Cursor::new(stream), None).unwrap();
    assert_three_rows(&stream.map(Result::unwrap).collect::<Vec<_>>());
}

#[test]
fn a_part_of_the_rows_is_had_in_any_format() {
    let cluster = one_worker();
    let id = three_rows(&cluster);
    for (query, expected) in [
        ("?limit=1", "mar, 2, 0.5, 2026-01-02\n"),
        ("?offset=1&limit=1", "a, b, -1, 1, \n"),
        ("?offset=2", ", 7, , 2026-03-04\n"),
        ("?offset=3", ""),
        ("?limit=0", ""),
        ("?format=csv&offset=1&limit=1", "word,n,share,day\n\"a, b\",-1,1.0,\n"),
        ("?format=csv&offset=99", "word,n,share,day\n"),
    ] {
        assert_eq!(ok(get(&cluster, &route(&id, query), &[])).text(), expected, "{query}");
    }
    let (large, text) = many_lines(&cluster, 50_000);
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for offset in [0, 8_191, 8_192, 30_000, 49_999] {
        let answer =
            ok(get(&cluster, &route(&large, &format!("?offset={offset}&limit=10000")), &[]));
        let expected = lines[offset..lines.len().min(offset + 10_000)].concat();
        assert!(answer.text() == expected, "from {offset}");
    }
}

#[test]
fn a_range_of_bytes_is_a_part_of_the_own_format() {
    let cluster = one_worker();
    let id = three_rows(&cluster);
    let path = route(&id, "");
    let whole = ok(get(&cluster, &path, &[]));
    let etag = whole.header("etag").unwrap();
    let results = cluster.get(&format!("/api/v1/jobs/{id}/results"));
    let checksum = results["files"]["rows"][0]["checksum"].as_str().unwrap();
    assert_eq!(etag, format!("\"{checksum}\""));
    assert_eq!(results["formats"]["rows"], "text");
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let length = TEXT.len();
    assert_eq!(whole.header("content-length"), Some(&*length.to_string()));

    for (range, from, to) in
        [("bytes=0-3", 0, 4), ("bytes=5-", 5, length), ("bytes=-4", length - 4, length)]
    {
        let answer = get(&cluster, &path, &[("range", range), ("if-range", etag)]);
        assert_eq!((answer.status, answer.text().as_str()), (206, &TEXT[from..to]), "{range}");
        let place = format!("bytes {from}-{}/{length}", to - 1);
        assert_eq!(answer.header("content-range"), Some(&*place));
    }
    let other = get(&cluster, &path, &[("range", "bytes=5-"), ("if-range", "\"other\"")]);
    assert_eq!((other.status, other.text().as_str()), (200, TEXT));
    let beyond = get(&cluster, &path, &[("range", "bytes=9999-")]);
    assert_eq!((beyond.status, &beyond.json()["code"]), (416, &json!("BAD_REQUEST")));
    assert_eq!(beyond.header("content-range"), Some(&*format!("bytes */{length}")));
    let known = get(&cluster, &path, &[("if-none-match", etag)]);
    assert_eq!((known.status, known.body.len()), (304, 0));

    for query in ["", "?format=parquet", "?file=0"] {
        let range = [("range", "bytes=0-3")];
        let head = http::call(&cluster.rest, "HEAD", &route(&id, query), &range, b"");
        assert_eq!((head.status, head.body.len()), (200, 0), "{query}");
        let is_known = query != "?format=parquet";
        let length = is_known.then(|| length.to_string());
        assert_eq!(head.header("content-length"), length.as_deref(), "{query}");
    }
}

#[test]
fn what_can_not_be_had_is_a_problem_that_says_what_can() {
    let cluster = one_worker();
    let id = three_rows(&cluster);
    for (query, headers, status, words) in [
        ("?format=xml", &[][..], 400, ["csv", "parquet"]),
        ("?limit=-1", &[], 400, ["limit", ""]),
        ("?rows=1", &[], 400, ["rows", ""]),
        ("?file=0&offset=1", &[], 400, ["offset", "text"]),
        ("?file=0&format=csv", &[], 400, ["format", "text"]),
        ("?file=1", &[], 404, ["1 files", ""]),
        ("", &[("accept", "image/png")], 406, ["text/csv", "parquet"]),
    ] {
        let answer = get(&cluster, &route(&id, query), headers);
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(words.iter().all(|word| detail.contains(word)), "{query}: {detail}");
    }
}

#[test]
fn answers_are_compressed_on_request_and_ranges_are_not() {
    let cluster = one_worker();
    let (id, text) = many_lines(&cluster, 20_000);
    let path = route(&id, "");
    let gzip = ok(get(&cluster, &path, &[("accept-encoding", "gzip")]));
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert!(gzip.body.len() < text.len() / 2);
    assert!(gzip.header("etag").unwrap().starts_with("W/"), "the bytes are others");
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*gzip.body).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == text);
    let zstd = ok(get(&cluster, &path, &[("accept-encoding", "zstd")]));
    assert_eq!(zstd.header("content-encoding"), Some("zstd"));
    assert_eq!(zstd.body[..4], [0x28, 0xb5, 0x2f, 0xfd]);

    let range = get(&cluster, &path, &[("accept-encoding", "gzip"), ("range", "bytes=0-4999")]);
    assert_eq!((range.status, range.header("content-encoding")), (206, None));
    assert!(range.body == text[..5000]);
    let parquet = get(&cluster, &route(&id, "?format=parquet"), &[("accept-encoding", "gzip")]);
    assert_eq!(ok(parquet).header("content-encoding"), None);
    let document = ok(get(&cluster, "/api/v1/openapi.json", &[("accept-encoding", "gzip")]));
    assert_eq!(document.header("content-encoding"), Some("gzip"));
}

#[test]
fn a_damaged_copy_breaks_the_download_off() {
    let cluster = one_worker();
    // The copy is read in batches, and an error in the first of them would be the whole answer.
    let (id, _) = many_lines(&cluster, 200_000);
    let copy = files_below(&cluster.output_dir().join(".minispark"));
    let copy = copy.iter().find(|path| path.extension().is_some_and(|name| name == "arrow"));
    let mut bytes = fs::read(copy.unwrap()).unwrap();
    let behind = bytes.len() / 4 * 3;
    bytes[behind..behind + 200_000].fill(0xff);
    fs::write(copy.unwrap(), bytes).unwrap();
    let answer = http::try_call(&cluster.rest, "GET", &route(&id, "?format=csv"), &[], b"");
    assert!(answer.is_err(), "no end may be told");
}

/// A way to a server that passes on so many bytes of each answer only, and then ends or stands.
struct Proxy {
    address: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<String>>,
}

impl Proxy {
    fn start(server: &str, most: usize, stands: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (connections, requests) = (Arc::default(), Arc::default());
        let proxy = Self {
            address,
            connections: Arc::clone(&connections),
            requests: Arc::clone(&requests),
        };
        let server = server.to_owned();
        thread::spawn(move || {
            for client in listener.incoming() {
                connections.fetch_add(1, Ordering::Relaxed);
                let (server, requests) = (server.clone(), Arc::clone(&requests));
                let client = client.unwrap();
                thread::spawn(move || pass(&client, &server, most, stands, &requests));
            }
        });
        proxy
    }
}

fn pass(client: &TcpStream, server: &str, most: usize, stands: bool, requests: &Mutex<String>) {
    let Ok(to_server) = TcpStream::connect(server) else { return };
    let (mut up_from, mut up_to) = (client.try_clone().unwrap(), to_server.try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(count @ 1..) = up_from.read(&mut buffer) {
                requests.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
                if up_to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            drop(up_to.shutdown(std::net::Shutdown::Both));
        });
        let (mut from, mut to) = (&to_server, client);
        let (mut buffer, mut passed) = ([0; 16 << 10], 0);
        while passed < most {
            let room = buffer.len().min(most - passed);
            let Ok(count @ 1..) = from.read(&mut buffer[..room]) else { break };
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
            passed += count;
        }
        if !(stands && passed == most) {
            drop(client.shutdown(std::net::Shutdown::Both));
            drop(to_server.shutdown(std::net::Shutdown::Both));
        }
    });
}

fn download(server: &str, id: &str, folder: &Path) -> std::process::Command {
    let mut command = minispark();
    command.args(["--server", &format!("http://{server}"), "results", id, "--output"]).arg(folder);
    command
}

#[test]
fn a_cut_download_is_taken_up_where_it_stopped() {
    let cluster = one_worker();
    let (id, text) = many_lines(&cluster, 60_000);
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&cluster.rest, 1_000_000, false);
    let ran = support::run(&mut download(&proxy.address, &id, folder.path())).expect_done();
    let copy = PathBuf::from(ran.json()["outputs"]["rows"].as_str().unwrap());
    assert!(fs::read(&copy).unwrap() == text);
    assert_eq!(names(folder.path()), [format!("{id}_rows.txt")]);
    assert!(proxy.connections.load(Ordering::Relaxed) > text.len() / 1_000_000);
    assert!(proxy.requests.lock().unwrap().to_lowercase().contains("range: bytes="));
    assert!(ran.stderr.contains("checked"), "{ran:?}");
}

#[test]
fn a_killed_download_leaves_a_part_that_the_next_one_goes_on_with() {
    let cluster = one_worker();
    let (id, text) = many_lines(&cluster, 60_000);
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&cluster.rest, 1_500_000, true);
    let mut child = download(&proxy.address, &id, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let part = folder.path().join(format!(".{id}_rows.txt.part"));
    let size = || fs::metadata(&part).map_or(0, |found| found.len());
    until("most of the bytes that pass are there", || size() > 1_400_000);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(folder.path()), [format!(".{id}_rows.txt.part")]);
    let had = size();

    let whole = Proxy::start(&cluster.rest, usize::MAX, false);
    support::run(&mut download(&whole.address, &id, folder.path())).expect_done();
    assert!(fs::read(folder.path().join(format!("{id}_rows.txt"))).unwrap() == text);
    assert_eq!(names(folder.path()), [format!("{id}_rows.txt")]);
    let requests = whole.requests.lock().unwrap().to_lowercase();
    assert!(requests.contains(&format!("range: bytes={had}-")), "{requests}");
}

#[test]
fn a_flipped_bit_on_the_server_is_a_checksum_error() {
    let cluster = one_worker();
    let (id, mut text) = many_lines(&cluster, 1_000);
    let folder = tempfile::tempdir().unwrap();
    let path = cluster.output(&id, "rows");
    text[5_000] ^= 1;
    fs::write(&path, text).unwrap();
    let ran = support::run(&mut download(&cluster.rest, &id, folder.path()));
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(ran.stderr.starts_with("error[CHECKSUM_MISMATCH]"), "{ran:?}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_writers_parts_are_downloaded_as_they_are_and_as_one_file_otherwise() {
    let cluster = one_worker();
    let input = cluster.folder.path().join("numbers.csv");
    let row = |n| format!("{n},\"w, {n}\"\n");
    let rows = (0..5_000).map(row).collect::<Vec<String>>().concat();
    fs::write(&input, format!("n,word\n{rows}")).unwrap();
    let target = cluster.folder.path().join("written");
    let document = json!({ "name": "parts", "dag": {
        "nodes": [
            { "id": "in", "op": "read_csv", "path": input, "header": true, "partitions": 3 },
            { "id": "rows", "op": "write_csv", "path": target, "header": true },
        ],
        "edges": [["in", "rows"]],
    } });
    let id = cluster.submit(&document.to_string());
    cluster.completed(&id);
    let parts: Vec<String> =
        names(&target).into_iter().filter(|name| name.starts_with("part-")).collect();
    assert!(parts.len() > 1, "{parts:?}");

    let folder = tempfile::tempdir().unwrap();
    let ran = support::run(&mut download(&cluster.rest, &id, folder.path())).expect_done();
    let copies = PathBuf::from(ran.json()["outputs"]["rows"].as_str().unwrap());
    assert_eq!(copies, folder.path().join(format!("{id}_rows")));
    assert_eq!(names(&copies), parts);
    for part in &parts {
        assert!(fs::read(copies.join(part)).unwrap() == fs::read(target.join(part)).unwrap());
    }
    let second = get(&cluster, &route(&id, "?file=1"), &[("range", "bytes=0-6")]);
    assert_eq!((second.status, second.text().as_str()), (206, "n,word\n"));

    // One stream of the parts has one header; another format is one file.
    let whole = ok(get(&cluster, &route(&id, ""), &[])).text();
    assert_eq!(whole, format!("n,word\n{rows}"));
    let mut command = download(&cluster.rest, &id, folder.path());
    support::run(command.args(["--format", "jsonl"])).expect_done();
    let jsonl = fs::read_to_string(folder.path().join(format!("{id}_rows.jsonl"))).unwrap();
    assert_eq!(jsonl.lines().count(), 5_000);
    assert_eq!(jsonl.lines().nth(41), Some("{\"n\":41,\"word\":\"w, 41\"}"));

    let shown = cluster.client(&["results", &id, "--show", "2", "--format", "csv"]).expect_done();
    assert_eq!(shown.stdout, "n,word\n0,\"w, 0\"\n1,\"w, 1\"\n");
    assert_eq!(cluster.client(&["results", &id, "--format", "csv"]).code(), 2);
    let binary = cluster.client(&["results", &id, "--show", "2", "--format", "parquet"]);
    assert_eq!(binary.code(), 2, "{binary:?}");
}

/// The most memory that a process ever had resident, in bytes.
fn peak_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

#[test]
fn twenty_downloads_at_once_take_little_memory() {
    let cluster = one_worker();
    let (id, text) = many_lines(&cluster, 300_000);
    let before = peak_bytes(cluster.master.id());
    let received: usize = thread::scope(|scope| {
        let formats = ["", "?format=csv", "?format=jsonl", "?format=parquet"];
        let downloads: Vec<_> = (0..20)
            .map(|n| {
                let (path, rest) = (route(&id, formats[n % 4]), &cluster.rest);
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(rest).unwrap();
                    let head =
                        format!("GET {path} HTTP/1.1\r\nhost: {rest}\r\nconnection: close\r\n\r\n");
                    stream.write_all(head.as_bytes()).unwrap();
                    // Not kept: this process is not the one that is measured.
                    let (mut buffer, mut count) = (vec![0; 64 << 10], 0);
                    while let Ok(read @ 1..) = stream.read(&mut buffer) {
                        count += read;
                    }
                    count
                })
            })
            .collect();
        downloads.into_iter().map(|download| download.join().unwrap()).sum()
    });
    // Fifteen of them in text of some kind, each larger than the lines alone.
    assert!(received > 15 * text.len(), "{received} bytes came");
    // Some 5 MiB each, and what the allocator keeps of them for the threads that made them.
    let grown = peak_bytes(cluster.master.id()) - before;
    assert!(grown < 192 << 20, "{grown} bytes more for {received} bytes of downloads");
}
